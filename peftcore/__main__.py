"""`python -m peftcore`: the commands of peftcore/cli, and the benchmarks."""

from __future__ import annotations

from peftcore.bench import app as bench
from peftcore.cli.commands import app, main

app.add_typer(bench, name="bench")

if __name__ == "__main__":
    main()
