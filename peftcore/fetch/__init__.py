"""Weights, adapters and data sets from elsewhere: downloads that are whole or nothing, that show progress and can be stopped
and resumed; and the files of other libraries."""
