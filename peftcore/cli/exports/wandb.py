"""An offline run of Weights & Biases."""

from __future__ import annotations

from pathlib import Path

from peftcore.cli.exports._logger import PROJECT, by_step, ending, needs
from peftcore.cli.exports._source import Source

TITLE = "Weights & Biases"
PURPOSE = (
    "An offline run, which nothing leaves this machine to write: unzip, then `wandb sync FOLDER/wandb/offline-run-*`."
)
MAKES = "folder"

why_not = needs("wandb")


def write(source: Source, folder: Path) -> Path:
    import wandb

    logs = folder / f"{source.name}-wandb"
    logs.mkdir()
    settings = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True)
    run = wandb.init(
        project=PROJECT, name=source.name, dir=str(logs), mode="offline", config=source.settings, settings=settings
    )
    for step, values in by_step(source):
        run.log(values, step=step)
    run.summary.update(ending(source))
    run.finish()
    for link in [path for path in (logs / "wandb").iterdir() if path.is_symlink()]:
        link.unlink()  # to the newest run and its logs, which a zip would hold twice
    return logs
