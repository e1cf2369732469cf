"""Weights of a backbone: timm converts a file's tensors, and every tensor of the backbone must come from it.

timm loads what fits and logs the rest. Its conversion runs here too (positions for another image size, the
original files of DINOv2, CLIP, Swin), but what it would load must be the whole backbone, or nothing is loaded.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
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

# What a file may hold besides a backbone: classifiers, poolers, and what only pretraining used.
_BESIDE = re.compile(
    r"(heads?|head_dist|fc|\w*classifier|\w+_head|pooler|pre_logits|mask_token|decoder\w*|projectors?|predictor)\b"
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
    files, own = FETCH.load("weight_files").parts(file), model.state_dict()
    state, outside, names = FETCH.load("checkpoint").read(files, model)
    left_over: list[str] = []
    shapes = {name: tensor.shape for name, tensor in state.items()}
    _check_patches(model, state.values())

    def convert(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        try:
            state = filter_fn(state, model) if filter_fn else state
        except UNREADABLE:
            _check_names(own, state, strict, names)  # says more than the conversion's own error
            raise
        left_over.extend(_check_names(own, state, strict, names))
        _check_tensors(own, state, cfg)
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
        raise WeightsUnavailable(f"values of {_some(bad)} are not finite")
    # timm resamples positions and patches alone; what is of another shape elsewhere has another name in the file.
    resampled = [k for k in own if k in shapes and shapes[k] != own[k].shape and re.search("pos|patch_embed", k)]
    return Origin(file.name, sha256(files), names, _grouped(left_over + outside), resampled)


def _check_patches(model: nn.Module, tensors: Iterable[Tensor]) -> None:
    """timm would resample a patch embedding of any size."""
    weight = getattr(getattr(getattr(model, "patch_embed", None), "proj", None), "weight", None)
    if weight is not None and weight.ndim == 4:
        shapes = {tuple(tensor.shape) for tensor in tensors if tensor.ndim == 4 and len(tensor) == len(weight)}
        if shapes and weight.shape[2:] not in {shape[2:] for shape in shapes}:
            raise WeightsUnavailable(f"its patch embedding is {shapes.pop()}, the backbone's {tuple(weight.shape)}")


def _check_names(own: Collection[str], state: Mapping[str, Tensor], strict: bool, read: str) -> list[str]:
    """The names that are left over, a classifier's for instance. timm itself is not strict about a pooling's."""
    left_over, missing = [key for key in state if key not in own], [key for key in own if key not in state]
    unknown = [key for key in left_over if not _BESIDE.match(key) and (strict or not key.startswith("attn_pool."))]
    if missing or unknown:
        faults = [f"({read})"] if read else []
        if missing:
            faults.append(f"{len(missing)} of the backbone's {len(own)} tensors are missing ({_some(missing)})")
        if unknown:
            faults.append(f"{len(unknown)} of its own are unknown to the backbone ({_some(unknown)})")
        known = "; of other libraries, ViT, DeiT, DINOv2 and Swin are known" if "names of" in read else ""
        raise WeightsUnavailable(f"{', '.join(faults)}. Name the architecture that the file was made for{known}")
    return left_over


def _check_tensors(own: Mapping[str, Tensor], state: Mapping[str, Tensor], cfg: dict[str, Any]) -> None:
    for key, tensor in own.items():
        there, shape = state[key], [*tensor.shape]
        if key == f"{cfg.get('first_conv')}.weight" and there.shape[1:2] == tuple(cfg["input_size"][:1]):
            shape[1] = there.shape[1]  # timm fits it to the requested channels
        if [*there.shape] != shape:
            raise WeightsUnavailable(
                f"{key} is {tuple(there.shape)} in the file and {tuple(tensor.shape)} in the backbone"
            )
        if tensor.is_floating_point() and (not there.is_floating_point() or there.itemsize == 1):
            raise WeightsUnavailable(f"{key} is quantised ({there.dtype}); save it in fp32, fp16 or bf16")


def _some(names: Collection[str]) -> str:
    return ", ".join([*names][:3]) + (", ..." if len(names) > 3 else "")


def _grouped(names: Iterable[str]) -> list[str]:
    """The names; where more than two share their first part, only their number."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[name.partition(".")[0]].append(name)
    return [one for top, group in groups.items() for one in (group if len(group) < 3 else [f"{top}.* ({len(group)})"])]


def sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()
