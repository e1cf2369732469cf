"""Weights of a backbone: timm converts a file's tensors, and every tensor of the backbone must come from it.

timm loads what fits and logs the rest. Its conversion runs here too (positions for another image size, the
original files of DINOv2, CLIP, Swin), but what it would load must be the whole backbone, or nothing is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from timm.models import _builder
from torch import Tensor, nn

from peftcore.backbone.weights import Origin, first_line
from peftcore.errors import WeightsUnavailable
from peftcore.registry import FETCH

# What timm, torch, safetensors, pickle and huggingface_hub raise for an impossible model or a file without weights.
UNREADABLE = (
    *(OSError, RuntimeError, ValueError, LookupError, TypeError, EOFError, AttributeError),
    *(SafetensorError, UnpicklingError, BadZipFile, EntryNotFoundError, AssertionError, ArithmeticError),
)

_timms = _builder.load_pretrained
_current: ContextVar[Callable[..., None]] = ContextVar("arrival", default=_timms)
_builder.load_pretrained = lambda *args, **settings: _current.get()(*args, **settings)


class Arrival:
    """Loads one backbone's weights where timm, inside `with arrival.loads():`, would.

    `file`: a file of weights, an index of shards or one of them; None: where timm looks for them. `origin` is set once
    they are loaded.
    """

    def __init__(self, name: str, file: Path | None):
        self.name, self.file = name, file
        self.origin: Origin | None = None

    @contextmanager
    def loads(self) -> Iterator[None]:
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def __call__(self, model: nn.Module, pretrained_cfg: dict[str, Any], **settings: Any) -> None:
        """As timm's `load_pretrained`.

        Raises:
            WeightsUnavailable: there is no file, not every tensor of the model came from it, or one is not finite.
        """
        try:
            self.file = self.file or FETCH.load("places").located(pretrained_cfg)
        except UNREADABLE as error:
            raise WeightsUnavailable(FETCH.load("places").why_no_weights(self.name, error)) from error
        try:
            self.origin = _load(model, self.file, pretrained_cfg, **settings)
        except (WeightsUnavailable, *UNREADABLE) as error:
            why = str(error).rstrip(".") if isinstance(error, WeightsUnavailable) else first_line(error)
            raise WeightsUnavailable(f"{str(self.file)!r} does not hold weights of {self.name}: {why}.") from error


def _load(
    model: nn.Module,
    file: Path,
    cfg: dict[str, Any],
    filter_fn: Callable[..., dict[str, Tensor]] | None = None,
    strict: bool = True,
    **settings: Any,
) -> Origin:
    on_disk, fits = FETCH.load("weight_files"), FETCH.load("completeness")
    files, own = on_disk.parts(file), model.state_dict()
    state, outside, names = FETCH.load("checkpoint").read(files, model)
    left_over: list[str] = []
    shapes = {name: tensor.shape for name, tensor in state.items()}
    fits.check_patches(model, state.values())

    def convert(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        try:
            state = filter_fn(state, model) if filter_fn else state
        except UNREADABLE:
            fits.check_names(own, state, strict, names)  # says more than the conversion's own error
            raise
        left_over.extend(fits.check_names(own, state, strict, names))
        fits.check_tensors(own, state, cfg)
        return state

    # The last thing that timm does; it has taken out a classifier by then.
    model.load_state_dict = lambda state, strict: nn.Module.load_state_dict(model, {key: state[key] for key in own})
    try:
        source = cfg | {"state_dict": state, "source": ""}
        _timms(model, pretrained_cfg=source, filter_fn=convert, strict=True, **settings)
    finally:
        del model.load_state_dict
    # A sum in fp64 does not overflow for finite fp32 values.
    if bad := [key for key, tensor in own.items() if not tensor.sum(dtype=torch.float64).isfinite()]:
        raise WeightsUnavailable(f"values of {fits.some(bad)} are not finite")
    # timm resamples positions and patches alone; what is of another shape elsewhere has another name in the file.
    resampled = [k for k in own if k in shapes and shapes[k] != own[k].shape and re.search("pos|patch_embed", k)]
    return Origin(file.name, on_disk.sha256(files), names, fits.grouped(left_over + outside), resampled)
