"""The pages that look into a run: heads and attention."""
