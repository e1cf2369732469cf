"""A Jupyter notebook that makes the run again with peftcore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peftcore.cli.exports import script
from peftcore.cli.exports._source import Source

TITLE = "Jupyter notebook"
PURPOSE = "The same as the script, cell by cell, with the curves drawn: to teach with, and to change."
MAKES = "file"
CURVES = (
    "Training loss and validation accuracy by epoch.",
    'import plotly.express as px\n\npx.line(result.epochs, x="epoch", y=["train_loss", "val_accuracy"], markers=True)',
)


def why_not(source: Source) -> str | None:
    return source.no_spec


def write(source: Source, folder: Path) -> Path:
    heading, cells = script.parts(source)
    title, _, more = heading.partition("\n")
    written: list[dict[str, Any]] = [_cell("markdown", f"# {title}\n{more}")]
    for does, code in (*cells, CURVES):
        written += [_cell("markdown", does), _cell("code", code)]
    for number, cell in enumerate(written):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": written, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path = folder / f"{source.name}.ipynb"
    path.write_text(json.dumps(notebook, indent=1), encoding="utf-8")
    return path


def _cell(kind: str, text: str) -> dict[str, Any]:
    more: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": text.strip().splitlines(keepends=True), **more}
