"""Adapters as files: what a saved adapter holds, and writing one. Never pickle.

A saved adapter is a folder with adapter.safetensors (the tensors of `adapter_state`) and adapter.json (what rebuilds
the model: architecture, fingerprint of its weights, preprocessing, method, classes, spec, versions); as bytes, both are
one safetensors file with the description in its header.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from peftcore import __version__, errors
from peftcore.adapters.packing import pack
from peftcore.model import TunedModel
from peftcore.spec import RunSpec

FORMAT = 1  # goes up when an older Headroom would misread what a newer one writes
TENSORS, ABOUT = "adapter.safetensors", "adapter.json"


def describe(model: TunedModel, spec: RunSpec | None = None, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """What adapter.json holds: everything needed to rebuild `model` around its adapter state.

    Raises:
        InvalidSetting: `classes` are not one name for each output of the classifier.
    """
    import timm

    backbone, outputs = model.backbone, model.head.out_features
    names = None if classes is None else [*map(str, classes)]
    if names is not None and (isinstance(classes, str) or len(names) != outputs):
        raise errors.InvalidSetting(f"classes has {len(names)} names; the classifier needs a list of {outputs}.")
    return {
        "format": FORMAT,
        "backbone": {
            **{name: getattr(backbone, name) for name in ("name", "pretrained", "interpolation")},
            **{name: list(getattr(backbone, name)) for name in ("input_size", "mean", "std")},
            "weights": backbone.origin and vars(backbone.origin),
            "options": json.loads(json.dumps(dict(backbone.options), default=str)),  # a class by its name, say
            "fingerprint": model.fingerprint,
        },
        "method": model.method.settings(),
        "num_classes": outputs,
        "classes": names,
        "spec": RunSpec.of(spec).to_dict() if spec else None,
        "versions": {"headroom": __version__, "torch": str(torch.__version__), "timm": timm.__version__},
    }


def to_bytes(model: TunedModel, spec: RunSpec | None = None, classes: Sequence[str] | None = None) -> bytes:
    """The adapter as one safetensors file."""
    return pack(model.adapter_state(), describe(model, spec, classes))


def save_adapter(
    folder: str | Path, model: TunedModel, spec: RunSpec | None = None, classes: Sequence[str] | None = None
) -> Path:
    """Writes adapter.safetensors and adapter.json into `folder` (made where it is missing) and returns it.

    Raises:
        BadAdapter: the folder cannot be written.
    """
    folder = writable(folder)
    about = describe(model, spec, classes)
    tensors = pack(model.adapter_state(), about)
    about["sha256"] = hashlib.sha256(tensors).hexdigest()
    files = {TENSORS: tensors, ABOUT: json.dumps(about, indent=2).encode()}
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:  # an older adapter stays whole until this one is
            for name, content in files.items():
                Path(scratch, name).write_bytes(content)
            for name in files:
                Path(scratch, name).replace(folder / name)
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
        why = f"{str(folder)!r} cannot be written ({error.strerror}); choose another folder."
        raise errors.BadAdapter(why) from error
