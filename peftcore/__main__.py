"""`python -m peftcore`: the commands of peftcore/cli, the doctor and the benchmarks."""

from __future__ import annotations

from peftcore.bench import app as bench
from peftcore.bench._doctor import doctor
from peftcore.cli.commands import app, main

app.command()(doctor)
app.add_typer(bench, name="bench")

if __name__ == "__main__":
    main()
