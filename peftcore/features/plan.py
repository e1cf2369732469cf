"""Where a run keeps its frozen features: on the device, in host memory, on disk, or nowhere, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch

from peftcore import errors
from peftcore.features.cache import FeatureCache, Place, bytes_per_image
from peftcore.features.disk import Shelf
from peftcore.home import gigabytes
from peftcore.model import TunedModel
from peftcore.spec import RunSpec
from peftcore.task import Task

_SHARE = 0.4  # of the memory that is free: what a cache may take unless HEADROOM_CACHE_GB says otherwise
_IN = {"device": "on the GPU", "host": "in memory", "disk": "on disk"}
_OF = {"cpu": ("device", "host"), "cuda": ("device",)}  # places that are memory of the device that trains


@dataclass(frozen=True)
class CachePlan:
    """`bytes` of features, where they will be kept, what each place may take (None: not known), and the reason in a
    sentence."""

    bytes: int
    place: Place
    budget: dict[Place, int | None]
    why: str

    def held(self, device: str) -> int:
        """Bytes of the features that lie in the memory of the device that trains, 'cpu' or 'cuda'."""
        return self.bytes if self.place in _OF.get(device, ()) else 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def caches(
        self, model: TunedModel, task: Task, splits: Iterable[str], spec: RunSpec, taps: Iterable[str] | None = None
    ) -> dict[str, FeatureCache]:
        """Empty caches of these splits at `taps`, by default the model's own; none where features are not kept."""
        if self.place == "none":
            return {}
        backbone, taps, norm = model.backbone, taps or model.tuner.taps, spec.normalisation
        kept: Any = dict(precision=spec.cache_precision, compute=spec.precision, place=self.place, resize=spec.resize)
        return {split: FeatureCache(backbone, taps, getattr(task, split).images, norm, **kept) for split in splits}


def plan_cache(model: TunedModel, images: int, spec: RunSpec, taps: Iterable[str] | None = None) -> CachePlan:
    """Where to keep the features of this many images at `taps`, by default the model's own. The model may be on meta.

    Budgets: HEADROOM_CACHE_GB of the device and of host memory each, by default 40 % of what is free;
    HEADROOM_CACHE_DISK_GB of the disk, by default 20 GB, and at most half of what is free.

    Raises:
        InvalidSetting: a cache is demanded where features change with every epoch or the method has none.
        OutOfMemory: a cache is demanded that does not fit.
    """
    wanted, every_epoch = spec.cache_features, "Features are computed in every epoch:"
    if why := _never(model, spec):
        if wanted in (True, "disk"):
            raise errors.InvalidSetting(f"cache_features={wanted!r} is not possible: {why}; use 'auto'.")
        return CachePlan(0, "none", {}, f"{every_epoch} {why}.")
    need = images * bytes_per_image(model.backbone, taps or model.tuner.taps, spec.cache_precision, spec.precision)
    size = f"{need / 1e6:,.1f} MB of frozen features ({images:,} images, {spec.cache_precision})"
    if wanted is False:
        return CachePlan(need, "none", {}, f"{every_epoch} cache_features is off ({size}).")
    budget = {place: room for place, room in budgets(spec.device).items() if place == "disk" or wanted != "disk"}
    limits = ", ".join(f"{_gb(room)} may be taken {_IN[place]}" for place, room in budget.items())
    for place, room in budget.items():
        if room is None or need <= room:
            return CachePlan(need, place, budget, f"{size} are kept {_IN[place]}: {limits}.")
    if wanted in (True, "disk"):
        raise errors.OutOfMemory(
            f"{size} fit nowhere: {limits}. Use cache_features='auto', cache_precision='bf16' or fewer images, or "
            "allow more with HEADROOM_CACHE_GB (memory) or HEADROOM_CACHE_DISK_GB."
        )
    return CachePlan(need, "none", budget, f"{every_epoch} {size} fit nowhere; {limits}.")


def plan_shared(models: Sequence[TunedModel], task: Task, spec: RunSpec) -> tuple[CachePlan, list[str], list[str]]:
    """Where side networks that train together keep one set of features, at which taps and of which splits: at every tap
    that one of the models reads, of all splits, or without those of the test images where only these are too many, or
    where features are rounded: a run alone tests on exact ones.

    Raises what `plan_cache` raises.
    """
    taps = list(dict.fromkeys(tap for model in models for tap in model.tuner.taps))
    splits = ["train", "val", *["test"] * (spec.cache_precision == "fp32")]

    def plan() -> CachePlan:
        return plan_cache(models[0], sum(len(getattr(task, name)) for name in splits), spec, taps)

    with suppress(errors.OutOfMemory):
        if (whole := plan()).place != "none":
            return whole, taps, splits
    del splits[2:]
    return plan(), taps, splits


def budgets(device: str) -> dict[Place, int | None]:
    """Bytes that a cache may take by place, in the order in which they are tried. `device`: a RunSpec's; None for a GPU
    that is not in this machine."""
    found: dict[Place, int | None] = {}
    place = torch.device("cuda" if device == "auto" else device)
    if torch.cuda.is_available() and place.type == "cuda":
        found["device"] = share_of(torch.cuda.mem_get_info(place)[0])
    elif device.startswith("cuda"):
        found["device"] = None
    return found | {"host": share_of(psutil.virtual_memory().available), "disk": Shelf().room()}


def share_of(room: int) -> int:
    """Bytes that a cache may take of `room` free bytes of a memory."""
    most = gigabytes("HEADROOM_CACHE_GB")
    return int(_SHARE * room if most is None else min(room, most * 1e9))


def _never(model: TunedModel, spec: RunSpec) -> str | None:
    """Why features of this run are not the same in every epoch, or there are none."""
    if not model.is_side:
        return "this method changes the backbone's features"
    return "images are augmented anew in every epoch" if spec.augmentation != "none" else None


def _gb(size: int | None) -> str:
    return "what is free there" if size is None else f"{size / 1e9:,.1f} GB"
