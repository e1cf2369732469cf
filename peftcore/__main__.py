"""`python -m peftcore`: the commands of peftcore/cli, heads, the doctor, benchmarks, experiments."""

from __future__ import annotations

from peftcore.bench._commands import app as bench
from peftcore.bench._doctor import doctor
from peftcore.bench._head_scores import heads
from peftcore.bench.experiments._command import command as experiment
from peftcore.cli.commands import app, main

app.command()(heads)
app.command()(doctor)
app.command("experiment")(experiment)
app.add_typer(bench, name="bench")

if __name__ == "__main__":
    main()
