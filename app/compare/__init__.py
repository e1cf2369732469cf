"""The page of comparisons: which runs, what they cost, how they learnt, and whether they err on the same images."""
