"""Tasks from folders of image files."""
