"""Lessons: read from `assets/lessons`, walked section by section, with predictions to commit to and figures to move."""
