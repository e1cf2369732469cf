"""The adapter: what was trained, for Headroom itself."""

from __future__ import annotations

from pathlib import Path

from peftcore.cli.exports._source import Source
from peftcore.spec import RunSpec

TITLE = "Adapter"
PURPOSE = "The trained weights alone, small: `pc.load_adapter(folder)` gives the model back."
MAKES = "folder"
LOADS = True


def why_not(source: Source) -> str | None:
    return source.no_model


def write(source: Source, folder: Path) -> Path:
    from peftcore.adapters import save_adapter

    spec = RunSpec.of(source.settings) if source.settings else None
    return save_adapter(folder / f"{source.name}-adapter", source.model, spec, source.classes)
