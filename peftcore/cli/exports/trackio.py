"""A project of trackio, as files of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from peftcore.cli.exports._logger import PROJECT, by_step, ending, needs
from peftcore.cli.exports._source import Source
from peftcore.errors import CannotExport

TITLE = "trackio"
PURPOSE = (
    "A project of trackio, which nothing leaves this machine to write: unzip, then "
    f"`TRACKIO_DIR=FOLDER trackio show --project {PROJECT}`."
)
MAKES = "folder"
SECONDS = 120  # after which the export is given up
# trackio takes its folder from the environment when it is imported, once for a process: so it has a process of its own.
_PROGRAM = """
import json, sys, trackio
told = json.load(sys.stdin)
trackio.init(**told["run"], embed=False, auto_log_gpu=False, auto_log_cpu=False)
for step, values in told["steps"]:
    trackio.log(values, step=step)
trackio.finish()
"""

why_not = needs("trackio")


def write(source: Source, folder: Path) -> Path:
    logs = folder / f"{source.name}-trackio"
    logs.mkdir()
    steps = by_step(source)
    end = {f"final/{name}": value for name, value in ending(source).items()}  # a summary is what trackio has not
    told = {
        "run": {"project": PROJECT, "name": source.name, "config": source.settings},
        "steps": [*steps[:-1], (steps[-1][0], steps[-1][1] | end)] if steps else [(0, end)] if end else [],
    }
    # A space or a server that the user's own projects are sent to is not where an export goes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKIO_")}
    try:
        subprocess.run(
            [sys.executable, "-c", _PROGRAM], input=json.dumps(told), text=True, capture_output=True, check=True,
            env=environment | {"TRACKIO_DIR": str(logs)}, timeout=SECONDS,
        )  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        last = (str(error.stderr or "").strip().splitlines() or [str(error)])[-1]
        raise CannotExport(f"trackio could not write the run ({last}); `pip install -U trackio` may help.") from error
    for lock in logs.glob("*.lock"):
        lock.unlink()
    return logs
