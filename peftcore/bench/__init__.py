"""Measurements, as ratios to a peer in one run, and the papers' experiments. Files import torch only when they
measure."""
