"""The Atlas page: head grids of many tasks side by side, and whether tasks of a group move the same heads."""
