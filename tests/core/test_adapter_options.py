"""Adapters on backbones that were built with options which no file holds: they come back on the same backbone."""

from __future__ import annotations

import pytest
import torch
from backbones import VIT

import peftcore as pc
from peftcore import errors

UNWRITTEN = {
    "a class": {"act_layer": torch.nn.ReLU},
    "a type of numbers": {"dtype": torch.float32},
    "a changed configuration": {"pretrained_cfg_overlay": {"mean": (0.4, 0.4, 0.4)}},
}


@pytest.mark.parametrize("what", UNWRITTEN)
def test_an_adapter_comes_back_whatever_its_backbone_was_built_with(tmp_path, what):
    backbone = pc.load_backbone(**VIT, pretrained=False, **UNWRITTEN[what])
    model = pc.attach(backbone, "lora", 3).eval()
    x = torch.randn(2, *backbone.input_size)
    for back in (
        pc.load_adapter(pc.save_adapter(tmp_path / "a", model), backbone),
        pc.adapters.from_bytes(pc.adapters.to_bytes(model), backbone),
    ):
        assert torch.equal(back(x), model(x))
    with pytest.raises(errors.HeadroomError):  # but not on a backbone that is built from its name
        pc.load_adapter(tmp_path / "a")


def test_without_a_backbone_the_sentence_speaks_of_the_one_that_was_built(tmp_path):
    folder = pc.save_adapter(tmp_path, pc.attach(pc.load_backbone(**VIT, pretrained=False, seed=3), "lora", 3))
    with pytest.raises(errors.AdapterMismatch, match="built here"):
        pc.load_adapter(folder)
    with pytest.raises(errors.AdapterMismatch, match="given here"):
        pc.load_adapter(folder, pc.load_backbone(**VIT, pretrained=False, seed=4))
