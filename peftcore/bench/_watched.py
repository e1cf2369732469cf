"""How far a probe is that runs a model many times, and its end at any of them: captum's methods tell neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from peftcore.model import TunedModel


@contextmanager
def watched(model: TunedModel, images: int, progress: Callable[[float], None]) -> Iterator[None]:
    """Tells `progress` which share of so many images the model has begun to read. What it raises ends the probe."""
    backbone, done = model.backbone, 0

    def note(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal done
        done += len(args[0])
        progress(min(1.0, done / images))

    with backbone.module.get_submodule(backbone.blocks[0].path).register_forward_pre_hook(note):
        yield
