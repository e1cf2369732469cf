"""The page of runs: the list, one run, one race."""
