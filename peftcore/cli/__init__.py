"""The command line: what `python -m peftcore` is made of."""
