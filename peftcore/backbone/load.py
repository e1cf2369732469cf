"""Backbones by name: which there are, and how one is built, filled with weights and proven to be understood."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from peftcore import errors
from peftcore.backbone import embedded
from peftcore.backbone.anatomy import anatomy
from peftcore.backbone.arrival import UNREADABLE, Arrival
from peftcore.backbone.backbone import Backbone, by_channel
from peftcore.backbone.understood import check_understood
from peftcore.backbone.weights import REMOTE, first_line
from peftcore.registry import FETCH
from peftcore.spec import LARGEST

_understood: set[tuple[str, str, bool]] = set()  # name, options, whether on the meta device


def load_backbone(
    name: str,
    pretrained: bool = True,
    weights: str | Path | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
    **architecture: Any,
) -> Backbone:
    """A frozen Backbone by name.

    `name`: an embedded backbone, any timm ViT or Swin (with or without a tag), or 'hf-hub:OWNER/NAME'.
    Pretrained weights are looked for in `fetch.places.folder()` (HEADROOM_WEIGHTS), the hub's cache, then on the hub.
    `weights`: a local file or a folder that holds one; `device='meta'` builds the anatomy without weights. All of the
    backbone comes from that file, or it is refused; `Backbone.origin` records what was read and what was left over.
    Random weights (`pretrained=False`) follow from `seed` alone: the same name and seed are the same backbone.
    Further arguments go to `timm.create_model`, those that are None apart: with img_size=..., positions are resampled
    and windows fitted as timm does both.

    Raises:
        UnknownName: no such architecture; the nearest is named.
        WeightsUnavailable: the weights are neither local nor reachable, or do not match.
        InvalidSetting: it cannot be built so; an image size that its patches do not divide is refused, not cropped.
        DoesNotFit: not a transformer whose every block, token and pooling is understood.
    """
    from timm.data import resolve_model_data_config

    architecture = {option: value for option, value in architecture.items() if value is not None}
    _check_name(name)
    meta, places, arrival = device_type(device) == "meta", FETCH.load("places"), None
    if (pretrained or weights is not None) and not meta:
        arrival = Arrival(name, places.fetched(name) if weights is None else places.weights_file(Path(weights)))
    try:
        with (
            torch.random.fork_rng(),
            torch.device("cpu" if arrival else device),
            places.no_waiting_for_an_unreachable_hub() if arrival or name.startswith(REMOTE) else nullcontext(),
            arrival.loads() if arrival else nullcontext(),
        ):
            torch.manual_seed(seed)
            module = timm.create_model(name, pretrained=arrival is not None, num_classes=0, **architecture)
    except errors.HeadroomError:
        raise
    except UNREADABLE as error:
        if arrival and name.startswith(REMOTE):
            raise errors.WeightsUnavailable(places.why_no_weights(name, error)) from error
        options = ", ".join(f"{option}={value}" for option, value in architecture.items())
        raise errors.InvalidSetting(
            f"{name} cannot be built{f' with {options}' if options else ''}: {first_line(error)}."
        ) from error
    module = module.to(device).eval().requires_grad_(False)
    config = resolve_model_data_config(module)
    blocks = anatomy(module, name)
    if "img_size" in architecture:
        _check_size(name, module.patch_embed)
    channels = architecture.get("in_chans") or config["input_size"][0]
    backbone = Backbone(
        name=name, module=module, blocks=blocks, input_size=(channels, *module.patch_embed.img_size),
        prefix_tokens=getattr(module, "num_prefix_tokens", 0), mean=by_channel(config["mean"], channels),
        std=by_channel(config["std"], channels), interpolation=config["interpolation"], crop_pct=config["crop_pct"],
        pretrained=arrival is not None, origin=arrival.origin if arrival else None,
        options=tuple(sorted(architecture.items())),
    )  # fmt: skip
    # An architecture is understood or not, whatever its weights, so it is checked once; the meta device shows less.
    if not {(name, repr(backbone.options), kind) for kind in {meta, False}} & _understood:
        check_understood(backbone)
        _understood.add((name, repr(backbone.options), meta))
    return backbone


def device_type(name: str) -> str:
    """'cpu', 'cuda' or 'meta', whether it is there or not. Raises InvalidSetting: there is no such device."""
    try:
        return torch.device(name).type
    except RuntimeError:
        raise errors.InvalidSetting(f"There is no device {name!r}; use 'auto', 'cpu' or 'cuda'.") from None


def _check_size(name: str, patches: nn.Module) -> None:
    for pixels, patch in zip(patches.img_size, patches.patch_size, strict=True):
        if pixels % patch:
            near = [n for n in range(min(pixels, LARGEST) // patch * patch, LARGEST + 1, patch) if n][:2]
            raise errors.InvalidSetting(
                f"{name} cuts images into patches of {patch} pixels, which do not divide an image size of {pixels}; "
                f"take a multiple, such as {' or '.join(map(str, near))}."
            )


# timm's files of architectures that are taken, and the patterns of names in them that are not; docs/architectures.md
# lists them all.
_FAMILIES = (
    *("beit", "deit", "eva", "swin_transformer", "swin_transformer_v2", "vitamin", "vision_transformer"),
    *("vision_transformer_hybrid", "vision_transformer_relpos"),
)
_REFUSED = ["*_18x2_*", "*_xp_*", "*pwee_*", "test_*"]


def backbones() -> list[str]:
    """Names of the embedded backbones, then of the curated ones, then of every architecture of timm that is taken."""
    more = (n for family in _FAMILIES for n in timm.list_models(module=family, exclude_filters=_REFUSED))
    return [*embedded.names(), *FETCH.load("curated").CURATED, *more]


def _check_name(name: str) -> None:
    if not FETCH.load("confined").is_remote(name) and name.partition(".")[0] not in (known := timm.list_models()):
        raise errors.unknown("backbone", name, list(dict.fromkeys([*backbones(), *sorted(known)])), most=8)
