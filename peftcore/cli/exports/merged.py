"""A plain timm checkpoint with the update folded in."""

from __future__ import annotations

from pathlib import Path

from peftcore.cli.exports._source import Source
from peftcore.registry import METHODS

TITLE = "Merged timm checkpoint"
PURPOSE = (
    "A plain timm model, as fast as the backbone: `timm.create_model(NAME, num_classes=..., checkpoint_path=FILE)`, "
    "and `img_size=...` where the run has an image size."
)
MAKES = "file"
LOADS = True


def why_not(source: Source) -> str | None:
    if source.no_model:
        return source.no_model
    if source.method and not (method := METHODS.load(source.method).METHOD).card.mergeable:
        return (
            f"{method.title} has no equal plain timm model: what it adds cannot be folded into the backbone's weights. "
            "Take the ONNX model, which holds all of it, or the adapter."
        )
    return None


def write(source: Source, folder: Path) -> Path:
    from peftcore.adapters import save_merged

    return save_merged(source.model, folder / f"{source.name}-merged.safetensors")
