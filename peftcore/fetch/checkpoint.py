"""A file of weights as tensors by name: nothing in it is run, and what training wrapped around it is taken off."""

from __future__ import annotations

import argparse
import copy
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from peftcore.backbone.arrival import UNREADABLE
from peftcore.errors import WeightsUnavailable
from peftcore.fetch import beside
from peftcore.fetch.foreign_names import library_of, to_timms
from peftcore.fetch.weight_files import is_safetensors

# What torch.compile, sharded and checkpointed training put between the names of modules.
_BETWEEN = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# What files and trainers put before the names of a model whose own names are not timm's.
_BEFORE = re.compile(
    r"(?:(?:state_dict|state_dict_ema|model_state_dict|model|model_ema|module|ema|teacher|student|backbone|encoder)\.)*"
)
_AVERAGE = re.compile(r"(?:^|[._])(?:ema|teacher)[._]")  # of several copies the one to use, as in timm


def read(files: Sequence[Path], model: nn.Module) -> tuple[dict[str, Tensor], list[str], str]:
    """The tensors of one copy of `model` in a file or in all its shards, by names that timm gives or reads; the names
    outside that copy; and how the names were read.

    Raises:
        WeightsUnavailable: it would run code to be read, holds no tensors by name, or the model several times; or a
            file beside it says that they belong to a model which computes something else.
    """
    if files[0].suffix == ".npz":
        return _googles(files[0], model)
    state: dict[str, Tensor] = {}
    for file in files:
        if is_safetensors(file):
            state |= load_file(file)
            continue
        try:
            # timm saves its arguments with the weights; torch reads by the ending what has a name.
            with torch.serialization.safe_globals([argparse.Namespace]), file.open("rb") as stream:
                data = torch.load(stream, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except UNREADABLE as error:
            raise WeightsUnavailable(
                "it is not a file of tensors, or holds a program or pickled objects beside them, which are never run: "
                "save model.state_dict() alone, as .safetensors"
            ) from error
        state |= _flat(data if isinstance(data, Mapping) else {})
    beside.heed(files[0], model)
    return _unwrapped(state, model.state_dict())


def _flat(data: Any, at: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(data, Tensor):
        yield at, data
    for key, value in data.items() if isinstance(data, Mapping) else ():
        yield from _flat(value, f"{at}.{key}" if at else str(key))


def _unwrapped(state: dict[str, Tensor], own: Collection[str]) -> tuple[dict[str, Tensor], list[str], str]:
    """Whatever stands before most of the names that are the backbone's `own` is taken off."""
    how = []
    # An optimizer's averages of gradients may have the names of their parameters.
    state = {_BETWEEN.sub("", name): tensor for name, tensor in state.items() if not name.startswith("optim")}
    if not state:
        raise WeightsUnavailable("it holds no tensors by name")
    if library := library_of(list(state)):
        state = to_timms(state, library)
        how.append(f"names of {library} read as timm's")
    hits: Counter[str] = Counter()
    for name in state:
        starts = (0, *(dot.end() for dot in re.finditer(r"\.", name)))
        if (start := next((start for start in starts if name[start:] in own), None)) is not None:
            hits[name[:start]] += 1
    if 2 * max(hits.values(), default=0) < len(own):  # names that timm's own conversion may know
        hits = Counter(match[0] for name in state if (match := _BEFORE.match(name)))  # it matches every name
    most = [prefix for prefix, count in hits.items() if count == max(hits.values())]
    prefix, *others = [prefix for prefix in most if _AVERAGE.search(prefix)] or most
    if others:
        where = " and ".join(map(repr, sorted([prefix, *others])))
        raise WeightsUnavailable(f"it holds the backbone {1 + len(others)} times, under {where}: keep one of them")
    if prefix:
        how.append(f"read below {prefix!r}")
    inside = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
    return inside, [name for name in state if not name.startswith(prefix)], ", ".join(how)


def _googles(path: Path, model: nn.Module) -> tuple[dict[str, Tensor], list[str], str]:
    """Google's own files (AugReg), by timm's reader: it names nothing, so what it does not write stays NaN."""
    if not hasattr(model, "load_pretrained"):
        raise WeightsUnavailable("timm reads .npz files for plain ViTs alone")
    with np.load(path, allow_pickle=False) as file:
        arrays = {re.sub(r"^(opt/target|params/img|params)/", "", name): file[name] for name in file.files}
    outside = [name for name in arrays if not name.startswith(("Transformer/", "embedding/", "cls", "pos_embedding"))]
    if single := [name for name, array in arrays.items() if array.size == 1 and name not in outside]:
        raise WeightsUnavailable(f"{single[0]} is a single value")  # which timm would copy to every place
    if (kernel := arrays.get("embedding/kernel")) is not None and kernel.shape[:2] != model.patch_embed.patch_size:
        raise WeightsUnavailable(f"its patches are {kernel.shape[:2]}, the backbone's {model.patch_embed.patch_size}")
    stacked = arrays.get("Transformer/encoderblock/LayerNorm_0/scale")  # all blocks in one array
    blocks = {match[1] for name in arrays if (match := re.match(r"Transformer/encoderblock_(\d+)/", name))}
    if (depth := len(blocks) if stacked is None else len(stacked)) != len(model.blocks):
        raise WeightsUnavailable(f"it has {depth} blocks and the backbone {len(model.blocks)}")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            tensor.fill_(torch.nan)
    twin.load_pretrained(str(path))
    state = {name: tensor for name, tensor in twin.state_dict().items() if not tensor.isnan().all()}
    return state, [name.replace("/", ".") for name in outside], "names of Google read as timm's"
