"""`python -m peftcore bench NAME`: the `command` of the file of that name here."""

from __future__ import annotations

import importlib
import pkgutil

import typer

from peftcore import bench

app = typer.Typer(no_args_is_help=True, help="Benchmarks, as ratios in one run.")
for _found in pkgutil.iter_modules(bench.__path__):
    if not _found.name.startswith("_") and not _found.ispkg:
        app.command(_found.name)(importlib.import_module(f"{bench.__name__}.{_found.name}").command)
