"""What `record_lessons.py` measures: one file for each JSON file of assets/lessons/measured, with `measure()`."""
