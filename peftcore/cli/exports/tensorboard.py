"""TensorBoard event files."""

from __future__ import annotations

import json
from pathlib import Path

from peftcore.cli.exports._logger import needs
from peftcore.cli.exports._source import Source
from peftcore.cli.exports.events import scalars

TITLE = "TensorBoard"
PURPOSE = "Curves beside those of other projects: unzip, then `tensorboard --logdir FOLDER`."
MAKES = "folder"

why_not = needs("tensorboard")


def write(source: Source, folder: Path) -> Path:
    from torch.utils.tensorboard import SummaryWriter

    logs = folder / f"{source.name}-tensorboard"
    with SummaryWriter(str(logs / source.name)) as writer:
        for tag, step, value, time in scalars(source):
            writer.add_scalar(tag, value, step, walltime=time)
        writer.add_text("spec", f"```\n{json.dumps(source.settings, indent=2)}\n```")
    return logs
