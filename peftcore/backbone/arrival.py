"""Weights that arrive: timm converts a file's tensors, and all of the backbone must have come from it.

timm loads what fits and writes the rest into a log. Its conversion runs here too (positions for another image size, the
original files of DINOv2, CLIP, Swin), but what it would load must be the whole backbone, or nothing is loaded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from timm.models import _builder, _hub
from torch import Tensor, nn

from peftcore import errors
from peftcore.backbone import checkpoint
from peftcore.backbone.weights import (
    USUAL,
    Origin,
    first_line,
    parts,
    shards,
    weights_file,
    whole,
    why_no_weights,
)

# What timm, torch, safetensors, pickle and huggingface_hub raise for an impossible model or a file without weights.
UNREADABLE = (
    *(OSError, RuntimeError, ValueError, LookupError, TypeError, EOFError, AttributeError),
    *(SafetensorError, UnpicklingError, BadZipFile, EntryNotFoundError),
)
# What a file may hold beside a backbone: classifiers, poolers, and what only pretraining used.
_BESIDE = re.compile(
    r"(heads?|head_dist|fc|\w*classifier|\w+_head|pooler|pre_logits|mask_token|decoder\w*|projectors?|predictor)\b"
)
_timms = _builder.load_pretrained
_current: ContextVar[Callable[..., None]] = ContextVar("arrival", default=_timms)
_builder.load_pretrained = lambda *args, **settings: _current.get()(*args, **settings)


class Arrival:
    """Loads one backbone's weights where timm, inside `with arrival.loads():`, would.

    `file`: a file of weights, an index of shards or one of them; None: where timm says that its weights are. `asked`: the
    settings of the architecture that were asked for. `origin` is there once the weights are.
    """

    def __init__(self, name: str, file: Path | None, asked: Collection[str]):
        self.name, self.file, self.asked = name, file, asked
        self.origin: Origin | None = None

    @contextmanager
    def loads(self) -> Iterator[None]:
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def refused(self, why: object) -> errors.WeightsUnavailable:
        return errors.WeightsUnavailable(f"{str(self.file)!r} does not hold weights of {self.name}: {why}.")

    def __call__(self, model: nn.Module, pretrained_cfg: dict[str, Any], **settings: Any) -> None:
        """Raises WeightsUnavailable: not every tensor of the model came from the file, or one is not finite."""
        try:
            self.file = self.file or _located(pretrained_cfg)
        except UNREADABLE as error:
            raise errors.WeightsUnavailable(why_no_weights(self.name, error)) from error
        own = model.state_dict()
        try:
            files = parts(self.file)
            if not all(map(whole, files)):
                raise self.refused("it is empty, damaged or cut short; fetch or copy it again")
            load = self._from_numpy if self.file.suffix == ".npz" else self._from_tensors
            names, beside, resampled = load(model, own, files, pretrained_cfg, **settings)
        except errors.HeadroomError as error:
            raise error if str(self.file) in str(error) else self.refused(error) from error
        except UNREADABLE as error:
            raise self.refused(first_line(error)) from error
        if bad := [key for key, tensor in own.items() if tensor.is_floating_point() and not tensor.isfinite().all()]:
            raise self.refused(f"values of {_some(bad)} are not finite")
        self.origin = Origin(str(self.file), _sha256(files), names, _grouped(beside), tuple(resampled))

    def _from_tensors(
        self, model: nn.Module, own: dict[str, Tensor], files: list[Path], cfg: dict[str, Any], **settings: Any
    ) -> tuple[str, list[str], list[str]]:
        state, outside, names = checkpoint.unwrapped(checkpoint.read(files), own)
        convert, strict = settings.get("filter_fn") or (lambda state, _: state), settings.get("strict", True)
        before = {name: tensor.shape for name, tensor in state.items()}
        self._check_patches(model, [tensor for tensor in state.values() if tensor.ndim == 4])

        beside: list[str] = []

        def converted(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
            try:
                state = convert(state, model)
            except UNREADABLE:
                self._check_names(own, state, strict, names)  # says more than what the conversion met
                raise
            beside.extend(self._check_names(own, state, strict, names))
            self._check_tensors(own, state, cfg)
            return state

        # The last that timm does; what it took for a classifier it has removed by then.
        model.load_state_dict = lambda state, strict: nn.Module.load_state_dict(model, {key: state[key] for key in own})
        try:
            source = cfg | {"state_dict": state, "source": ""}
            _timms(model, pretrained_cfg=source, **settings | {"filter_fn": converted, "strict": True})
        finally:
            del model.load_state_dict
        return names, beside + outside, [name for name in own if name in before and before[name] != own[name].shape]

    def _check_patches(self, model: nn.Module, kernels: list[Tensor]) -> None:
        """timm would resample a patch embedding of any size."""
        weight = getattr(getattr(getattr(model, "patch_embed", None), "proj", None), "weight", None)
        if weight is None or weight.ndim != 4:
            return
        shapes = {tuple(kernel.shape) for kernel in kernels if len(kernel) == len(weight)}
        if shapes and weight.shape[2:] not in {shape[2:] for shape in shapes}:
            raise self.refused(f"its patch embedding is {shapes.pop()}, the backbone's {tuple(weight.shape)}")

    def _check_names(self, own: Collection[str], state: Mapping[str, Tensor], strict: bool, read: str) -> list[str]:
        """The names that are left over, a classifier's for instance. timm itself is not strict about a pooling's."""
        beside = [key for key in state if key not in own]
        unknown = [key for key in beside if not _BESIDE.match(key) and (strict or not key.startswith("attn_pool."))]
        missing, faults = [key for key in own if key not in state], [f"({read})"] if read else []
        if missing:
            faults.append(f"{len(missing)} of the backbone's {len(own)} tensors are missing ({_some(missing)})")
        if unknown:
            faults.append(f"{len(unknown)} of its own are unknown to the backbone ({_some(unknown)})")
        if missing or unknown:
            known = "; of other libraries, ViT, DeiT, DINOv2 and Swin are known" if "names of" in read else ""
            raise self.refused(f"{', '.join(faults)}. Name the architecture that the file was made for{known}")
        return beside

    def _check_tensors(self, own: dict[str, Tensor], state: Mapping[str, Tensor], cfg: dict[str, Any]) -> None:
        for key, tensor in own.items():
            there, shape = state[key], list(tensor.shape)
            if key == f"{cfg.get('first_conv')}.weight" and "in_chans" in self.asked and there.ndim == 4:
                shape[1] = there.shape[1] if there.shape[1] == cfg["input_size"][0] else shape[1]  # timm adapts them
            if list(there.shape) != shape:
                raise self.refused(
                    f"{key} is {tuple(there.shape)} in the file and {tuple(tensor.shape)} in the backbone"
                )
            if tensor.is_floating_point() and (not there.is_floating_point() or there.itemsize == 1):
                raise self.refused(f"{key} is quantised ({there.dtype}); save it in fp32, fp16 or bf16")

    def _from_numpy(
        self, model: nn.Module, own: dict[str, Tensor], files: list[Path], cfg: dict[str, Any], **settings: Any
    ) -> tuple[str, list[str], list[str]]:
        """Google's own files (AugReg), by timm's reader, which is silent about names: what it leaves stays NaN."""
        if not hasattr(model, "load_pretrained"):
            raise self.refused("timm reads .npz files for plain ViTs alone")
        with np.load(self.file, allow_pickle=False) as file:
            names = [re.sub(r"^(opt/target|params/img|params)/", "", name) for name in file.files]
            arrays = dict(zip(names, map(file.get, file.files), strict=True))
        if (kernel := arrays.get("embedding/kernel")) is not None and kernel.ndim == 4:
            self._check_patches(model, [torch.from_numpy(kernel.transpose(3, 2, 0, 1))])
        beside = [name for name in names if not name.startswith(("Transformer/", "embedding/", "cls", "pos_embedding"))]
        if single := [name for name in names if arrays[name].size == 1 and name not in beside]:
            raise self.refused(f"{_some(single)} is a single value")  # which timm would copy to every place
        stacked = arrays.get("Transformer/encoderblock/LayerNorm_0/scale")  # all blocks in one array
        blocks = {m[1] for name in names if (m := re.match(r"Transformer/encoderblock_(\d+)/", name))}
        depth = len(blocks) if stacked is None else len(stacked)
        if depth != len(model.blocks):
            raise self.refused(f"it has {depth} blocks and the backbone {len(model.blocks)}")
        with torch.no_grad():
            for tensor in own.values():
                tensor.fill_(torch.nan)
        model.load_pretrained(str(self.file))
        self._check_names(own, {key: tensor for key, tensor in own.items() if not tensor.isnan().all()}, True, "")
        return "Google's names mapped to timm's", [name.replace("/", ".") for name in beside], []


def _some(names: Collection[str]) -> str:
    first = list(names)[:3]
    return ", ".join(first) + (", ..." if len(names) > 3 else "")


def _grouped(names: Iterable[str]) -> tuple[str, ...]:
    """Names, and in place of more than two below one part, how many they are."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition(".")[0], []).append(name)
    return tuple(
        entry for top, group in groups.items() for entry in (group if len(group) < 3 else [f"{top}.* ({len(group)})"])
    )


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while piece := stream.read(1 << 22):
                digest.update(piece)
    return digest.hexdigest()


def _located(cfg: dict[str, Any]) -> Path:
    """The file that timm would load, downloaded where it is on the hub or at an address. Raises UNREADABLE."""
    how, where = _builder._resolve_pretrained_source(cfg)
    if how == "hf-hub":
        repo, *names = (where,) if isinstance(where, str) else where
        return _from_hub(repo, names or list(USUAL))
    if how == "url":
        return Path(_hub.download_cached_file(where, check_hash=False))
    if not how:
        raise RuntimeError("timm knows no weights of it")
    return weights_file(Path(where))


def _from_hub(repo: str, names: list[str]) -> Path:
    """The first of the files that the repository has, with all its shards beside it."""
    for name in names:
        with suppress(EntryNotFoundError if name != names[-1] else ()):
            file = Path(_hub.download_from_hf(repo, name))
            break
    for shard in shards(file):
        _hub.download_from_hf(repo, shard)
    return file
