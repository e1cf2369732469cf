"""Tasks from named data sets, which are downloaded once."""
