"""Saved adapters come back as models: our own folders and files, Hugging Face PEFT's folders, PETL-ViT's files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from peftcore import errors
from peftcore.adapters.packing import unpack
from peftcore.adapters.save import ABOUT, FORMAT, TENSORS
from peftcore.backbone import embedded
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.methods import make_method
from peftcore.model import TunedModel, attach
from peftcore.registry import FETCH

# What a file from elsewhere may not say of the backbone that is built for it: where weights are read, and the like.
_NO_OPTIONS = {"name", "pretrained", "weights", "device", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"}


def from_bytes(blob: bytes, backbone: Backbone | None = None) -> TunedModel:
    """The model that `to_bytes` described; see `load_adapter`."""
    return _rebuild(*unpack(blob), backbone)


def trained_on(about: dict[str, Any]) -> dict[str, Any]:
    """What `load_backbone` takes for the backbone, before any tuning, that a described adapter was trained on: an
    embedded one with the weights that it had then. Raises ValueError: options that are not of its architecture."""
    known, weights = about["backbone"], (about["spec"] or {}).get("weights")
    if known["pretrained"] and not weights:
        weights = embedded.earlier(known["name"], known["fingerprint"])
    if odd := _NO_OPTIONS & known["options"].keys():
        raise ValueError(f"it names {odd.pop()} among its backbone's options")
    return {"name": known["name"], "pretrained": known["pretrained"], "weights": weights, **known["options"]}


def load_adapter(
    folder: str | Path,
    backbone: Backbone | None = None,
    *,
    scale: float | None = None,
    bits: int | None = None,
    rank: int | None = None,
) -> TunedModel:
    """The saved model, on `backbone` or on one loaded by the name that was saved.

    What was trained elsewhere needs `backbone`: a Hugging Face PEFT folder, and a .bin file of PETL-ViT's Bi-LoRA, of
    which `scale`, `bits` and `rank` follow from the name where it is one of the released files.

    Raises:
        BadAdapter: missing, truncated, altered, or written by a newer Headroom.
        AdapterMismatch: `backbone` is not the one that the adapter was trained on.
        InvalidSetting: no backbone, or numbers of a PETL-ViT file that its name does not give.
    """
    source, numbers = Path(folder), {"scale": scale, "bits": bits, "rank": rank}
    origin = origin_of(source, **numbers)
    if origin == "headroom":
        return _load(source.parent if source.is_file() else source, backbone)
    if backbone is None:
        raise errors.InvalidSetting(
            f"{str(source)!r} was trained elsewhere and does not hold its backbone; give the one that it was trained "
            "on: load_adapter(..., backbone=load_backbone(NAME))."
        )
    if origin == "peft":
        return FETCH.load("peft_import").import_peft(source, backbone)
    return FETCH.load("petl_vit").load(source, backbone, **numbers)


def origin_of(source: Path, **numbers: float | None) -> Literal["headroom", "peft", "petl_vit"]:
    """What wrote an adapter: Headroom unless something speaks for another.

    Raises:
        InvalidSetting: `numbers` of a PETL-ViT file are given for another.
    """
    binary, foreign = source.suffix == ".bin", FETCH.load("peft_folder").holds_peft(source)
    if binary and not foreign:
        return "petl_vit"
    if given := [name for name, value in numbers.items() if value is not None]:
        raise errors.InvalidSetting(f"{given[0]} is a number of PETL-ViT's .bin files; {str(source)!r} is not one.")
    own = not binary and ((source.parent if source.is_file() else source) / ABOUT).exists()
    return "peft" if foreign and not own else "headroom"


def _load(folder: Path, backbone: Backbone | None) -> TunedModel:
    others = "; nor does it hold an adapter of Hugging Face PEFT or a .bin file of PETL-ViT"
    for name, more in ((ABOUT, others), (TENSORS, "")):
        if not (folder / name).exists():
            raise errors.BadAdapter(f"{str(folder)!r} is not a saved adapter: it has no {name}{more}.")
    try:
        about = json.loads((folder / ABOUT).read_text())
        tensors = (folder / TENSORS).read_bytes()
    except (OSError, ValueError, RecursionError) as error:
        raise errors.BadAdapter(f"{str(folder)!r} cannot be read as a saved adapter: {error}.") from None
    _check_format(about)
    if hashlib.sha256(tensors).hexdigest() != about.get("sha256"):
        raise errors.BadAdapter(f"{TENSORS} in {str(folder)!r} is truncated or altered: its hash is not the one saved.")
    return _rebuild(unpack(tensors)[0], about, backbone)


def _check_format(about: Any) -> None:
    version = about.get("format") if isinstance(about, dict) else None
    if not isinstance(version, int):
        raise errors.BadAdapter(f"This is not an adapter that Headroom saved: its {ABOUT} names no format.")
    if version > FORMAT:
        raise errors.BadAdapter(
            f"This adapter has format {version}, of a newer Headroom; this one reads {FORMAT}. Update."
        )


def _rebuild(tensors: dict[str, Tensor], about: dict[str, Any], backbone: Backbone | None) -> TunedModel:
    _check_format(about)
    try:
        known, settings, classes = about["backbone"], dict(about["method"]), about["num_classes"]
        name, fingerprint, method = known["name"], known["fingerprint"], settings.pop("name")
        size, names = list(known["input_size"]), (name, fingerprint, method, *(about["spec"] or {}).keys())
        if {*map(type, names)} != {str} or tensors["head.weight"].shape[:1] != (classes,):
            raise TypeError("its names are texts, and num_classes is the number of its classifier's outputs")
        found = backbone or load_backbone(**trained_on(about))
    except KeyError as error:
        raise errors.BadAdapter(f"The description of this adapter is incomplete: {error} is missing.") from None
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise errors.BadAdapter(f"The description of this adapter is damaged: {error}.") from None
    if list(found.input_size) != size:
        raise errors.AdapterMismatch(
            f"This adapter was trained on {name} with images of {_pixels(size)}, and the {found.name} given here "
            f"takes {_pixels(found.input_size)}; give load_backbone(NAME, img_size={tuple(size[1:])})."
        )
    if found.fingerprint != fingerprint:
        raise errors.AdapterMismatch(
            f"This adapter was trained on {name} (fingerprint {fingerprint[:8]}), whose weights or shape are not those "
            f"of the {found.name} {'given' if backbone else 'built'} here (fingerprint {found.fingerprint[:8]}); give "
            "the backbone that it was trained on."
        )
    model = attach(found, make_method(method, **settings), classes, verify=False)
    model.load_adapter_state(tensors)
    return model.eval()


def _pixels(size: Sequence[int]) -> str:
    return " x ".join(map(str, size[1:])) + f" pixels in {size[0]} channels"
