"""`python -m peftcore`: the commands of peftcore/cli, probes, the doctor, benchmarks, experiments."""

from __future__ import annotations

from peftcore.bench._commands import app as bench
from peftcore.bench._doctor import doctor
from peftcore.bench._head_scores import heads
from peftcore.bench._probes import attribute, effects, lens
from peftcore.bench.experiments._command import command as experiment
from peftcore.cli.commands import app, main

for probe in (heads, effects, attribute, lens):
    app.command()(probe)
app.command()(doctor)
app.command("experiment")(experiment)
app.add_typer(bench, name="bench")

if __name__ == "__main__":
    main()
