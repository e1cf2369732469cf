"""Weights and data sets from elsewhere: whole or not at all, with progress, stoppable, and gone on with."""
