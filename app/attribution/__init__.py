"""The Attribution page: why a model says its class."""
