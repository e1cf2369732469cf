"""Weights of small backbones, saved and loaded."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from backbones import SWIN, VIT, small
from safetensors.torch import save_file
from torch import Tensor

import peftcore as pc

State = dict[str, Tensor]


SMALL = {"vit": VIT, "swin": SWIN}


def state(family: str = "vit", **head: Tensor) -> State:
    return {key: tensor.clone() for key, tensor in small(family).module.state_dict().items()} | head


def load(source: Path, family: str = "vit", **more: object) -> pc.Backbone:
    settings = SMALL[family] | more
    return pc.load_backbone(settings.pop("name"), weights=source, seed=9, **settings)


def saved(tmp_path: Path, data: object, name: str = "weights.pth") -> Path:
    (save_file if name.endswith(".safetensors") else torch.save)(data, tmp_path / name)
    return tmp_path / name


def below(prefix: str, values: State) -> State:
    return {prefix + key: value for key, value in values.items()}


def other(values: State) -> State:
    return {key: value + 1 for key, value in values.items()}


def sharded(tmp_path: Path, kind: str, index: bool = True) -> list[Path]:
    values = list(state().items())
    stem, end = {"safetensors": ("model", ".safetensors"), "bin": ("pytorch_model", ".bin")}[kind]
    files = [f"{stem}-{i:05d}-of-00002{end}" for i in (1, 2)]
    halves = [dict(values[:20]), dict(values[20:])]
    for file, half in zip(files, halves, strict=True):
        saved(tmp_path, half, file)
    if index:
        where = {key: file for file, half in zip(files, halves, strict=True) for key in half}
        (tmp_path / f"{stem}{end}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return [tmp_path / file for file in files]
