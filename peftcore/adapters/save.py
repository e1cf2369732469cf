"""Adapters as files: save, load, merge. Never pickle.

A saved adapter is a folder with adapter.safetensors (the tensors of `adapter_state`) and adapter.json (what rebuilds the
model: architecture, fingerprint of its weights, preprocessing, method, classes, spec, versions); as bytes, both are one
safetensors file with the description in its header.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from peftcore import __version__, errors
from peftcore.adapters.packing import pack, unpack
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.methods import make_method
from peftcore.model import TunedModel, attach
from peftcore.spec import RunSpec

FORMAT = 1  # goes up when an older Headroom would misread what a newer one writes
_TENSORS, _ABOUT = "adapter.safetensors", "adapter.json"


def describe(model: TunedModel, spec: RunSpec | None = None, classes: list[str] | None = None) -> dict[str, Any]:
    """What adapter.json holds: everything needed to rebuild `model` around its adapter state."""
    import timm

    backbone = model.backbone
    return {
        "format": FORMAT,
        "backbone": {
            "name": backbone.name,
            "pretrained": backbone.pretrained,
            "weights": backbone.origin and backbone.origin.to_dict(),
            "options": dict(backbone.options),
            "fingerprint": model.fingerprint,
            "input_size": list(backbone.input_size),
            "mean": list(backbone.mean),
            "std": list(backbone.std),
            "interpolation": backbone.interpolation,
        },
        "method": model.method.settings(),
        "num_classes": model.head.out_features,
        "classes": classes,
        "spec": spec.to_dict() if spec else None,
        "versions": {"headroom": __version__, "torch": str(torch.__version__), "timm": timm.__version__},
    }


def to_bytes(model: TunedModel, spec: RunSpec | None = None, classes: list[str] | None = None) -> bytes:
    """The adapter as one safetensors file."""
    return pack(model.adapter_state(), describe(model, spec, classes))


def from_bytes(blob: bytes, backbone: Backbone | None = None) -> TunedModel:
    """The model that `to_bytes` described; see `load_adapter`."""
    return _rebuild(*unpack(blob), backbone)


def save_adapter(
    folder: str | Path, model: TunedModel, spec: RunSpec | None = None, classes: list[str] | None = None
) -> Path:
    """Writes adapter.safetensors and adapter.json into `folder` (made where it is missing) and returns it.

    Raises:
        BadAdapter: the folder cannot be written.
    """
    folder = writable(folder)
    about = describe(model, spec, classes)
    tensors = pack(model.adapter_state(), about)
    about["sha256"] = hashlib.sha256(tensors).hexdigest()
    try:
        (folder / _TENSORS).write_bytes(tensors)
        (folder / _ABOUT).write_text(json.dumps(about, indent=2))
    except OSError as error:
        raise errors.BadAdapter(f"The adapter cannot be written to {str(folder)!r}: {error.strerror}.") from error
    return folder


def writable(folder: str | Path) -> Path:
    """The folder, made where it is missing.

    Raises:
        BadAdapter: it cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise errors.BadAdapter(
            f"{str(folder)!r} cannot be written ({error.strerror}); choose another folder."
        ) from error


def load_adapter(
    folder: str | Path,
    backbone: Backbone | None = None,
    *,
    scale: float | None = None,
    bits: int | None = None,
    rank: int | None = None,
) -> TunedModel:
    """The saved model, on `backbone` or on one loaded by the name that was saved.

    What was trained elsewhere needs the `backbone` said: a Hugging Face PEFT LoRA folder, and a .bin file of PETL-ViT's
    Bi-LoRA, whose `scale`, `bits` and `rank` its name tells where it is one of the released.

    Raises:
        BadAdapter: missing, truncated, altered, or written by a newer Headroom.
        AdapterMismatch: `backbone` is not the one that the adapter was trained on.
        InvalidSetting: no backbone, or numbers of a PETL-ViT file that its name does not tell.
    """
    from peftcore.adapters import petl_vit

    folder, numbers = Path(folder), {"scale": scale, "bits": bits, "rank": rank}
    foreign = _loader_elsewhere(folder)
    given = [name for name, value in numbers.items() if value is not None]
    if given and foreign is not petl_vit.load:
        raise errors.InvalidSetting(f"{given[0]} is a number of PETL-ViT's .bin files; {str(folder)!r} is none.")
    if foreign:
        if backbone is None:
            raise errors.InvalidSetting(
                f"{str(folder)!r} was trained elsewhere and does not hold its backbone; give the one that it was trained "
                "on: load_adapter(..., backbone=load_backbone(NAME))."
            )
        return foreign(folder, backbone, **(numbers if foreign is petl_vit.load else {}))
    try:
        about = json.loads((folder / _ABOUT).read_text())
        tensors = (folder / _TENSORS).read_bytes()
    except FileNotFoundError as error:
        raise errors.BadAdapter(
            f"{str(folder)!r} is no saved adapter: it has no {Path(error.filename).name}."
        ) from None
    except (OSError, ValueError) as error:
        raise errors.BadAdapter(f"{str(folder)!r} cannot be read as a saved adapter: {error}.") from None
    _check_format(about)
    if hashlib.sha256(tensors).hexdigest() != about.get("sha256"):
        raise errors.BadAdapter(
            f"{_TENSORS} in {str(folder)!r} is truncated or altered: its hash is not the one saved."
        )
    return _rebuild(unpack(tensors)[0], about, backbone)


def _loader_elsewhere(source: Path) -> Callable[..., TunedModel] | None:
    """What loads an adapter that another program wrote; None for our own."""
    from peftcore.adapters import hf_lora, petl_vit

    if (source / _ABOUT).exists():
        return None
    if ((source.parent if source.is_file() else source) / hf_lora.CONFIG).exists():
        return hf_lora.import_peft
    return petl_vit.load if source.is_file() and source.suffix == ".bin" else None


def _check_format(about: Any) -> None:
    version = about.get("format") if isinstance(about, dict) else None
    if not isinstance(version, int):
        raise errors.BadAdapter(f"This is no adapter that Headroom saved: its {_ABOUT} names no format.")
    if version > FORMAT:
        raise errors.BadAdapter(
            f"This adapter has format {version}, from a newer Headroom; this one reads up to {FORMAT}. Update Headroom."
        )


def _rebuild(tensors: dict[str, Tensor], about: dict[str, Any], backbone: Backbone | None) -> TunedModel:
    _check_format(about)
    try:
        known, settings, classes = about["backbone"], dict(about["method"]), about["num_classes"]
        weights = (about["spec"] or {}).get("weights")
        fingerprint, name = known["fingerprint"], known["name"]
        pretrained, options, method = known["pretrained"], known["options"], settings.pop("name")
    except (KeyError, TypeError) as error:
        raise errors.BadAdapter(f"The description of this adapter is incomplete: {error} is missing.") from None
    if backbone is None:
        backbone = load_backbone(name, pretrained, weights, **options)
    if backbone.fingerprint != fingerprint:
        raise errors.AdapterMismatch(
            f"This adapter was trained on {name} with other weights or another shape (fingerprint {fingerprint[:8]}) than "
            f"{backbone.name} given here (fingerprint {backbone.fingerprint[:8]}); load it on the backbone it was trained on."
        )
    model = attach(backbone, make_method(method, **settings), classes, verify=False)
    model.load_adapter_state(tensors)
    return model.eval()


def plain_copy(model: TunedModel) -> nn.Module:
    """A timm module with weights of its own: the model's backbone as it is now, hooks apart, and its classifier."""
    import timm

    backbone = model.backbone
    with torch.device("meta"):
        module = timm.create_model(backbone.name, num_classes=model.head.out_features, **dict(backbone.options))
    module = module.to_empty(device=backbone.device).to(next(backbone.module.parameters()).dtype).eval()
    # Hugging Face PEFT keeps a layer that it wraps below it, as base_layer.
    state = {name.replace(".base_layer.", "."): t.clone() for name, t in backbone.module.state_dict().items()}
    module.load_state_dict(state, strict=False)
    _copy_buffers(backbone.module, module)
    classifier = module.get_classifier()
    with torch.no_grad():
        classifier.weight.copy_(model.head.weight)
        classifier.bias.copy_(model.head.bias)
    return module


def merge(model: TunedModel) -> nn.Module:
    """A plain timm module, classifier included, that computes what `model` computes in eval mode.

    Raises:
        CannotMerge: the method has no such module.
    """
    module = plain_copy(model)
    model.method.merge(model, module)
    return module


def _copy_buffers(source: nn.Module, target: nn.Module) -> None:
    """Non-persistent buffers (Swin's index tables) are in no state dict."""
    buffers = dict(source.named_buffers())  # those that a method added have no place in the target
    for name, _ in list(target.named_buffers()):
        owner, _, leaf = name.rpartition(".")
        setattr(target.get_submodule(owner), leaf, buffers[name].clone())


def save_merged(model: TunedModel, path: str | Path) -> Path:
    """The merged module as a .safetensors file that `timm.create_model(..., checkpoint_path=...)` reads."""
    from safetensors.torch import save_file

    path = writable(Path(path).parent) / Path(path).name
    state = {k: v.contiguous() for k, v in merge(model).state_dict().items()}
    try:
        save_file(state, path)
    except (OSError, SafetensorError) as error:
        raise errors.BadAdapter(f"The merged model cannot be written to {str(path)!r}: {error}.") from error
    return path
