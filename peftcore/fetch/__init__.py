"""Weights, adapters and data sets from elsewhere.

Downloads are whole or nothing, show progress, and can be stopped and resumed; files of other libraries are read here.
"""
