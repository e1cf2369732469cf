"""Tasks from data sets with a name, downloaded once."""
