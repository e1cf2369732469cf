"""The command line: tables and progress bars for people, --json for machines."""

from __future__ import annotations

import io
import sys

import typer
from rich.markup import escape

from peftcore import errors
from peftcore.cli import catalogue, exporting, memory, results, runs, training
from peftcore.cli.output import console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The command line: `python -m peftcore`. Tables and progress for people, --json for machines.",
)
for command in (
    training.run, training.race, memory.predict,
    runs.runs, results.results, results.compare, results.leaderboard, exporting.export, exporting.report,
    catalogue.methods, catalogue.tasks, catalogue.backbones, catalogue.fetch, catalogue.cache,
):  # fmt: skip
    app.command()(command)


def main() -> None:
    """Errors of ours are one sentence on standard error and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or a pipe may lack a star, or a name's letters
            stream.reconfigure(errors="replace")
    try:
        app(standalone_mode=True)
    except errors.HeadroomError as error:
        console.print(f"[bold red]{type(error).__name__}[/]: {escape(str(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise SystemExit(130) from None
