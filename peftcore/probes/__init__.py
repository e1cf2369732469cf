"""Probes: measurements on a model."""
