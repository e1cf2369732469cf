"""Plotly figures from plain arrays, frames and dicts. Nothing here draws, and nothing imports torch.

One file per family of figures; each function returns a `plotly.graph_objects.Figure` with a title that says
the finding. `dark=True` gives the variant for a dark page. Draw clickable figures (head grids, patches) at
their own size: their squares fill the cells at exactly that width and height. A file may name arguments to draw each
of its figures with, EXAMPLES = {function's name: arguments}: tests draw them.
"""
