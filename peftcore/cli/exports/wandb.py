"""An offline run of Weights & Biases."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from peftcore.cli.exports._source import Source
from peftcore.cli.exports.events import scalars

TITLE = "Weights & Biases"
PURPOSE = (
    "An offline run, which nothing leaves this machine to write: unzip, then `wandb sync FOLDER/wandb/offline-run-*`."
)
MAKES = "folder"


def why_not(source: Source) -> str | None:
    if find_spec("wandb") is None:
        return "Not installed: wandb. Install with: pip install wandb"
    return source.no_events


def write(source: Source, folder: Path) -> Path:
    import wandb

    logs = folder / f"{source.name}-wandb"
    logs.mkdir()
    settings = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True)
    run = wandb.init(
        project="headroom", name=source.name, dir=str(logs), mode="offline", config=source.settings, settings=settings
    )
    by_step: dict[int, dict[str, float]] = {}
    for tag, step, value, _ in scalars(source):
        by_step.setdefault(step, {})[tag] = value
    for step in sorted(by_step):
        run.log(by_step[step], step=step)
    run.summary.update({name: source.summary[name] for name in ("test_accuracy", "val_accuracy")
                        if name in source.summary})  # fmt: skip
    run.finish()
    for link in [path for path in (logs / "wandb").iterdir() if path.is_symlink()]:
        link.unlink()  # to the newest run and its logs, which a zip would hold twice
    return logs
