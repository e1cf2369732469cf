"""A finer look is what timm builds for the larger size, and a watched probe tells how far it is and can be ended."""

from __future__ import annotations

import pytest
import torch
from backbones import MICRO, images, nudge, small

import peftcore as pc
from peftcore import errors
from peftcore.bench._finer import finer, finer_backbone
from peftcore.bench._watched import watched
from peftcore.probes.attribution import attribute


@pytest.mark.parametrize("name", MICRO)
def test_twice_the_size_is_what_timm_loads_for_it(name):
    backbone = small(name)
    height, width = (2 * side for side in backbone.input_size[1:])
    oracle = pc.load_backbone(name, img_size=(height, width))
    own = finer_backbone(backbone)
    x = images(oracle)
    with torch.no_grad():
        torch.testing.assert_close(own.pooled(x), oracle.pooled(x), rtol=1e-4, atol=1e-5)
    assert own.grid == oracle.grid == tuple(2 * n for n in backbone.grid) and own.input_size == oracle.input_size
    assert own.blocks == oracle.blocks and not any(p.requires_grad for p in own.module.parameters())
    assert backbone.input_size[1:] == (height // 2, width // 2) and backbone.pooled(images(backbone)) is not None


@pytest.mark.parametrize("method", ["lora", "last", "vpt"])
def test_a_trained_model_is_the_same_at_twice_the_size(method):
    backbone = small("vit")
    model = nudge(pc.attach(backbone, method, 3), 0.1).eval()
    own, big = finer(model, backbone), finer_backbone(backbone)
    state, x = model.adapter_state(), images(big)
    assert all(torch.equal(value, state[name]) for name, value in own.adapter_state().items())
    again = pc.attach(big, model.method, 3, verify=False)
    again.load_adapter_state(state)
    with torch.no_grad():
        torch.testing.assert_close(own(x), again.eval()(x))


def test_what_timm_cannot_resize_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.delattr(type(small("vit").module), "set_input_size")
    with pytest.raises(errors.NotMeasurable, match="32 x 48 pixels only"):
        finer_backbone(small("vit"))


@pytest.mark.parametrize(("method", "by"), [("lora", "integrated_gradients"), ("last", "occlusion")])
def test_a_probe_tells_how_far_it_is_and_ends_when_asked(method, by):
    model, x, shares = pc.attach(small("vit"), method, 3).eval(), images(small("vit"), 1), []
    runs = 6 + 2 if by == "integrated_gradients" else 1 + 4 * 6
    with watched(model, runs, shares.append):
        attribute(model, x, 1, by, steps=6)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1) and len(shares) > 1

    def stop(share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), watched(model, runs, stop):
        attribute(model, x, 1, by, steps=6)
    assert not any(module._forward_pre_hooks for module in model.trunk.modules())
