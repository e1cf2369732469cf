"""The page of tasks: a gallery, one task, its features."""
