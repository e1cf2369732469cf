"""Benchmarks, one file each, as ratios to a peer in one run: the `command` of a file here is `python -m peftcore bench
NAME`. Files import torch only when they measure."""

from __future__ import annotations

import importlib
import pkgutil

import typer

app = typer.Typer(no_args_is_help=True, help="Benchmarks, as ratios in one run.")
for _found in pkgutil.iter_modules(__path__):
    if not _found.name.startswith("_"):
        app.command(_found.name)(importlib.import_module(f".{_found.name}", __name__).command)
