"""A file of weights as tensors by name: read without running anything in it, and without what training wrapped around."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from peftcore import errors
from peftcore.backbone.foreign_names import library_of, to_timms

# What torch.compile, sharded and checkpointed training put between the names of modules.
_BETWEEN = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# What files and trainers put before the names of a model whose own names are not timm's.
_BEFORE = re.compile(
    r"(?:(?:state_dict|state_dict_ema|model_state_dict|model|model_ema|module|ema|teacher|student|backbone|encoder)\.)*"
)
_AVERAGE = re.compile(r"(?:^|[._])(?:ema|teacher)[._]")  # of several copies the one to use, as timm holds it


def read(files: Collection[Path]) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file, or of all its shards; of nested dicts by dotted names.

    Raises:
        WeightsUnavailable: it would run code to be read, or holds no tensors by name.
    """
    state: dict[str, Tensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            state |= load_file(file)
            continue
        try:
            with torch.serialization.safe_globals([argparse.Namespace]):  # timm keeps its arguments beside the weights
                data = torch.load(file, map_location="cpu", weights_only=True)
        except UnpicklingError as error:
            raise errors.WeightsUnavailable(
                "it is no file of tensors, or holds pickled objects beside them, which are never run: save "
                "model.state_dict() alone, as .safetensors"
            ) from error
        state |= _flat(data if isinstance(data, Mapping) else {})
    if not state:
        raise errors.WeightsUnavailable("it holds no tensors by name")
    return state


def _flat(data: Any, at: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(data, Tensor):
        yield at, data
    for key, value in data.items() if isinstance(data, Mapping) else ():
        yield from _flat(value, f"{at}.{key}" if at else str(key))


def unwrapped(state: dict[str, Tensor], own: Collection[str]) -> tuple[dict[str, Tensor], list[str], str]:
    """One model's tensors by the names that timm gives or reads, the names outside it, and how they were read.

    `own`: the names of the backbone. Whatever stands before most of them is taken off.

    Raises:
        WeightsUnavailable: the file holds the backbone several times, and none is an average of training.
    """
    how = []
    state = {_BETWEEN.sub("", name): tensor for name, tensor in state.items()}
    if library := library_of(list(state)):
        state = to_timms(state, library)
        how.append(f"names of {library} read as timm's")
    hits: Counter[str] = Counter()
    for name in state:
        starts = (0, *(dot.end() for dot in re.finditer(r"\.", name)))
        if (start := next((start for start in starts if name[start:] in own), None)) is not None:
            hits[name[:start]] += 1
    if 2 * max(hits.values(), default=0) < len(own):  # names that timm's own conversion may know
        hits = Counter(_BEFORE.match(name)[0] for name in state)
    most = [prefix for prefix, count in hits.items() if count == max(hits.values())]
    prefix, *others = [prefix for prefix in most if _AVERAGE.search(prefix)] or most
    if others:
        where = " and ".join(map(repr, sorted([prefix, *others])))
        raise errors.WeightsUnavailable(
            f"it holds the backbone {1 + len(others)} times, under {where}: keep one of them"
        )
    if prefix:
        how.append(f"read below {prefix!r}")
    inside = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
    return inside, [name for name in state if not name.startswith(prefix)], ", ".join(how)
