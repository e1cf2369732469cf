"""Commands that take a run, or a trained model, elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from peftcore import errors
from peftcore.cli.output import JSON, answer

SOURCE = Annotated[str, typer.Argument(help="A run's number, or the folder of a saved adapter.")]


def export(
    source: Annotated[str, typer.Argument(help="A run's number, or the folder of a saved adapter.")] = "",
    kind: Annotated[str, typer.Option("--as", help="The kind of export; without it, all kinds are listed.")] = "",
    to: Annotated[
        str, typer.Option(help="A folder that exists, or the file or folder to write; a folder is zipped as X.zip.")
    ] = ".",
    json: JSON = False,
) -> None:
    """Export a run or a saved adapter: --as onnx, merged, peft, script, notebook, report and more; or list them."""
    from peftcore.cli.exports import Source, kinds
    from peftcore.cli.exports import export as write

    if not kind:
        of = Source.of(source) if source else None
        rows = [
            {"name": k.name, "title": k.title, "what it is for": k.purpose}
            | ({} if of is None else {"why not": k.why_not(of) or ""})
            for k in kinds()
        ]
        return answer(json, rows, f"Exports of {of.name}" if of else "Kinds of export", rows)
    if not source:
        raise errors.InvalidSetting("Name what is exported: a run's number, or the folder of a saved adapter.")
    _written(json, write(source, kind, to), kind)


def report(
    source: SOURCE,
    to: Annotated[str, typer.Option(help="The HTML file to write, or a folder that exists.")] = ".",
    json: JSON = False,
) -> None:
    """Write a run as one HTML file with live figures, which opens without a network; the same as export --as report."""
    from peftcore.cli.exports import export as write

    _written(json, write(source, "report", to), "report")


def _written(as_json: bool, path: Path, kind: str) -> None:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    row = {"kind": kind, "path": str(path), "bytes": size}
    answer(as_json, row, "Written", [row | {"bytes": f"{size:,}"}])
