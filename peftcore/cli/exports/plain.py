"""The run in plain timm and PyTorch: the method's equations in about a hundred lines that need no Headroom."""

from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import fill

from peftcore import errors
from peftcore.backbone import embedded
from peftcore.cli.exports._source import Source
from peftcore.figures.method_style import method_title
from peftcore.spec import RunSpec

TITLE = "Plain timm and PyTorch"
PURPOSE = (
    "The method's equations in about 100 lines that need no Headroom, to read and to build on: trains on "
    "scikit-learn's digits, or on a folder of images. Its random numbers are others, so its accuracy differs a little."
)
MAKES = "folder"
TEXTS = Path(__file__).parent / "_plain"
IMPORTS = """import math
import sys
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn"""
STEP = "        optimizer.step()\n"
TENSOR = '''

def tensor(image):
    """(3, h, w), resized as the backbone needs it and normalised."""
    pixels = np.float32(image.convert("RGB").resize(SIZE[::-1], Image.Resampling.BICUBIC)) / 255
    return torch.from_numpy((pixels - np.float32(MEAN)) / np.float32(STD)).permute(2, 0, 1)


'''
# Of each method, the settings that its text reads, and the values that all others must have.
READ = {
    "lora": (("rank", "alpha", "projections"), {"dropout": 0.0, "lr_ratio": 1.0}),
    "serial_lora": (("rank", "scale"), {"dropout": 0.0}),
    "last": (
        ("rank", "gap", "stack", "qk_norm"),
        {"heads": 1, "up_bias": True, "bias_correction": True, "dropout": 0.0},
    ),
}
RECIPE = {"augmentation": "none", "resize": "stretch", "select": "last", "precision": "fp32", "weights": None}


def why_not(source: Source) -> str | None:
    if source.settings is None:
        return source.no_spec
    spec = source.spec
    if spec.method.name not in READ:
        able = ", ".join(map(method_title, READ))
        return f"It is written for {able}; {method_title(spec.method.name)} has no plain script."
    given = spec.to_dict()
    other = [f"{name}={given[name]!r}" for name, value in RECIPE.items() if given[name] != value]
    other += [f"{n}={given['method'][n]!r}" for n, value in READ[spec.method.name][1].items()
              if given["method"][n] != value]  # fmt: skip
    if other:
        return f"The plain script leaves out {', '.join(other)}, so it would be another run. Take the Python script."
    plain = spec.backbone.startswith(("vit_", "deit_", "deit3_"))
    if spec.backbone in embedded.names():
        plain = embedded.config(spec.backbone)["architecture"] == "VisionTransformer"
    return None if plain else _not_plain(spec)


def _not_plain(spec: RunSpec) -> str:
    return f"The plain script is for timm's VisionTransformer, and {spec.backbone} is not one. Take the Python script."


def write(source: Source, folder: Path) -> Path:
    """A folder with train.py, and the weights of an embedded backbone.

    Raises:
        CannotExport: the backbone turns out not to be timm's VisionTransformer.
    """
    spec = source.spec
    own = spec.backbone in embedded.names()
    constants, made = _constants(spec), folder / f"{source.name}-plain"
    data = "digits" if spec.task == "digits" else "folder"
    method = (TEXTS / f"{spec.method.name}.txt").read_text()
    if spec.method.name == "last" and not spec.method.qk_norm:
        method = _without(method, "# cosine attention")
    training = (TEXTS / "training.txt").read_text()
    if spec.clip is not None:
        training = training.replace(STEP, f"        nn.utils.clip_grad_norm_(trained, {spec.clip!r})\n{STEP}")
    images = (TEXTS / f"{data}.txt").read_text()
    made.mkdir()
    parts = [_heading(source, spec, data, own), constants, _backbone(spec, own), TENSOR, images, method, training]
    (made / "train.py").write_text("".join(parts), encoding="utf-8")
    if own and spec.pretrained:
        _write_weights(spec, made / "backbone.safetensors")
    return made


def _write_weights(spec: RunSpec, file: Path) -> None:
    """An embedded backbone's weights; at another image size, with the positions resampled."""
    if spec.image_size is None:
        shutil.copyfile(embedded.weights(spec.backbone), file)
        return
    from safetensors.torch import save_file

    from peftcore.backbone.load import load_backbone

    save_file(load_backbone(spec.backbone, img_size=spec.image_size).module.state_dict(), file)


def _without(text: str, mark: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if mark not in line)


def _heading(source: Source, spec: RunSpec, data: str, own: bool) -> str:
    known = source.summary.get("test_accuracy")
    accuracy = "" if known is None else f" Headroom's run reached a test accuracy of {known:.4f}."
    title = f"{method_title(spec.method.name)} with {spec.backbone}, in plain timm and PyTorch."
    task = f"The run trained on {spec.task}.".replace("\\", "/").replace('"""', "'")
    imports = IMPORTS.splitlines()
    if data == "folder":
        run = "python train.py FOLDER, with images in FOLDER/train/CLASS and FOLDER/test/CLASS"
        imports = [line for line in imports if "sklearn" not in line]
    else:
        run = "python train.py"
        imports.remove("import sys")
    if not (own and spec.pretrained):
        imports.remove("from safetensors.torch import load_file")
        if data == "digits":
            imports.remove("from pathlib import Path")
    trained = fill(f"{task}{accuracy}", 120, break_long_words=False, break_on_hyphens=False)
    return f'"""{title}\n\n{trained}\nRun: {run}\n"""\n\n' + "\n".join(imports) + "\n\n"


def _constants(spec: RunSpec) -> str:
    from peftcore.backbone.load import load_backbone
    from peftcore.backbone.preprocess import normalisation

    backbone = load_backbone(spec.backbone, pretrained=False, device="meta", img_size=spec.image_size)
    if {type(backbone.module).__name__, type(backbone.module.blocks[0]).__name__} != {"VisionTransformer", "Block"}:
        raise errors.CannotExport(_not_plain(spec))
    mean, std = normalisation(backbone, spec.normalisation)
    own = [name for name in READ[spec.method.name][0] if name != "qk_norm"]
    lines = [
        {"SIZE": tuple(backbone.input_size[-2:]), "MEAN": mean, "STD": std},  # height, width; of pixels from 0 to 1
        {name.upper(): getattr(spec.method, name) for name in own},
        {"EPOCHS": spec.epochs, "BATCH_SIZE": spec.batch_size, "SEED": spec.seed},
        {"LR": spec.lr, "WEIGHT_DECAY": spec.decay, "WARMUP": spec.warmup},
    ]
    return "".join(f"{', '.join(line)} = {', '.join(map(repr, line.values()))}\n" for line in lines) + "\n"


def _backbone(spec: RunSpec, own: bool) -> str:
    """Random weights are those of peftcore: they follow from timm's class and the seed 0."""
    seed = "" if spec.pretrained else "torch.manual_seed(0)\n"
    if not own:
        size = f", img_size={spec.image_size}" if spec.image_size else ""
        made = f"timm.create_model({spec.backbone!r}, pretrained={spec.pretrained}, num_classes=0{size})"
    else:
        given = embedded.config(spec.backbone)["arguments"]
        given |= {"img_size": spec.image_size} if spec.image_size else {}
        arguments = ", ".join(f"{k}={v!r}" for k, v in given.items())
        made = f"timm.models.VisionTransformer({arguments}, num_classes=0)"
    load = (
        'vit.load_state_dict(load_file(Path(__file__).with_name("backbone.safetensors")))\n'
        if own and spec.pretrained
        else ""
    )
    return f"{seed}vit = {made}\n{load}vit.eval().requires_grad_(False)\n"
