"""The image size is a field of a run: of its key, its features, its adapter, its bill and its exports."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pytest
import torch
from backbones import MICRO, images
from trainings import cut, drain

import peftcore as pc
from peftcore import errors
from peftcore.adapters import from_bytes
from peftcore.bench._real_step import RealStep
from peftcore.cli import image_size
from peftcore.features import FeatureCache
from peftcore.store import conditions
from peftcore.task import load_task

OWN, SMALL = 64, 32  # pixels; at 32, Swin's last two stages have fewer tokens than a window


def spec_of(backbone, method="last", **settings):
    given = dict(task="digits", epochs=2, batch_size=16, lr=0.01, image_size=SMALL, device="cpu")
    return pc.RunSpec(backbone=backbone, method=method, **(given | settings))


@pytest.fixture(scope="module")
def few_digits():
    return cut(load_task("digits"), 32, 16, 16)


def test_specs_of_the_backbones_own_size_keep_their_key():
    assert pc.RunSpec().image_size is None and "image_size" not in pc.RunSpec().key
    old = {name: value for name, value in pc.RunSpec().to_dict().items() if name != "image_size"}
    assert pc.RunSpec.from_dict(old).key == pc.RunSpec().key
    assert len({spec_of("vit_micro", image_size=size).key for size in (None, 32, 96)}) == 3
    assert spec_of("vit_micro").forward != spec_of("vit_micro", image_size=96).forward


@pytest.mark.parametrize("name", MICRO)
def test_a_forward_at_the_backbones_own_size_is_equal_to_the_bit(name):
    own, asked, none = (pc.load_backbone(name, img_size=size) for size in (None, OWN, None))
    x = images(own)
    assert torch.equal(own.pooled(x), asked.pooled(x)) and own.fingerprint == asked.fingerprint
    assert none.options == ()


@pytest.mark.parametrize(("name", "method"), [("vit_micro", "last"), ("swin_micro", "lora")])
def test_a_run_at_another_size_resumes_saves_loads_and_predicts_the_same(
    name, method, few_digits, monkeypatch, tmp_path
):
    monkeypatch.setattr("peftcore.train.loop.load_task", lambda _: few_digits)
    spec = spec_of(name, method)
    seen, model = drain(pc.finetune(spec))
    assert model.backbone.input_size == (3, SMALL, SMALL)
    started, end = seen[0], seen[-1]
    assert started.settings["input_size"] == [SMALL, SMALL]
    assert "stretched to 32 x 32" in conditions.of_run(spec.to_dict(), started.to_dict())
    state = next(event for event in seen if event.kind == "checkpoint").blob
    _, again = drain(pc.finetune(spec, resume=state))
    x = images(model.backbone, 3)
    with torch.no_grad():
        expected = model.eval()(x)
        assert torch.equal(again.eval()(x), expected)
        assert torch.equal(pc.load_adapter(pc.save_adapter(tmp_path, model, spec))(x), expected)
        assert torch.equal(from_bytes(end.blob, pc.load_backbone(name, img_size=SMALL))(x), expected)
    with pytest.raises(errors.AdapterMismatch, match=r"32 x 32 .* takes 64 x 64 .*img_size=\(32, 32\)"):
        from_bytes(end.blob, pc.load_backbone(name))
    with pytest.raises(errors.InvalidSetting, match="img_size=32"):
        next(pc.finetune(spec, backbone=pc.load_backbone(name)))


@pytest.mark.parametrize(("name", "method"), [("vit_micro", "lora"), ("swin_micro", "last")])
def test_the_ledger_agrees_with_the_bill_at_that_size(name, method):
    spec = spec_of(name, method, batch_size=2, pretrained=False)
    guess = pc.predict_memory(spec, num_classes=10)
    assert guess.peak == RealStep.of(spec, guess, 10).measure().peak


def test_features_of_two_sizes_are_kept_apart(few_digits):
    small, own = (
        FeatureCache(pc.load_backbone("swin_micro", img_size=size), ["pooled"], few_digits.val.images, "backbone")
        for size in (96, None)
    )
    assert small.about() != own.about()


def test_a_size_that_the_patch_does_not_divide_is_a_sentence():
    with pytest.raises(errors.InvalidSetting, match="patches of 8 pixels.*60.*56 or 64"):
        next(pc.finetune(spec_of("vit_micro", image_size=60)))
    with pytest.raises(errors.InvalidSetting, match="image_size.*at least 1"):
        spec_of("vit_micro", image_size=0)


def test_a_backbone_of_very_many_tokens_is_proposed_a_smaller_size():
    spec = pc.RunSpec(backbone="vit_small_patch14_dinov2")
    text = image_size.note(spec)
    assert "518 x 518 pixels, 1,370 tokens" in text and "224 pixels they are 257" in text
    assert "--image-size 224" in text
    for quiet in (spec.replace(image_size=518), spec_of("vit_micro"), pc.RunSpec(backbone="vit_tiny_patch16_224")):
        assert image_size.note(quiet) == ""


def test_exports_are_of_that_size(tmp_path, monkeypatch, capsys):
    """The plain script is run as far as its backbone, which must compute what ours does."""
    from peftcore.cli.exports import plain
    from peftcore.cli.exports._source import Source
    from peftcore.cli.exports.onnx import write as write_onnx
    from peftcore.cli.exports.script import specification

    spec = spec_of("vit_micro")
    assert "image_size=32" in specification(spec)
    backbone = pc.load_backbone("vit_micro", img_size=SMALL)
    source = Source("run-1", spec.to_dict(), model=pc.attach(backbone, "last", 3).eval())
    made = plain.write(source, tmp_path) / "train.py"
    head = made.read_text().partition("vit.eval()")[0]
    assert "SIZE, MEAN, STD = (32, 32)" in head
    made.write_text(head)
    x = images(backbone)
    monkeypatch.setattr(sys, "argv", [str(made)])
    vit = runpy.run_path(str(made))["vit"].eval()
    with torch.no_grad():
        assert torch.equal(vit(x), backbone.pooled(x))
    onnx = pytest.importorskip("onnxruntime")
    session = onnx.InferenceSession(str(write_onnx(source, tmp_path)))
    logits = session.run(None, {"images": x.numpy()})[0]
    assert session.get_inputs()[0].shape[-2:] == [SMALL, SMALL]
    assert np.allclose(logits, source.model(x).detach(), atol=1e-4)
