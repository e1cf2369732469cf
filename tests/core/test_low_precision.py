"""Every method takes a real step in bf16 on ViT and on Swin: finite, and near the one in fp32."""

from __future__ import annotations

import pytest
import torch
from backbones import BOTH, images, nudge, small

import peftcore as pc
from peftcore import errors
from peftcore.registry import METHODS

SETTINGS = {"hf_peft": {"tuner": "lora"}, "heart_lora": {"n_off": 1}}


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("name", METHODS.names())
def test_a_step_in_bf16_is_near_the_one_in_fp32(family, name):
    backbone = small(family)
    try:
        model = nudge(pc.attach(backbone, pc.make_method(name, **SETTINGS.get(name, {})), 3), 0.02).train()
    except errors.DoesNotFit as why:
        pytest.skip(str(why))
    losses = []
    for half in (False, True):
        model.zero_grad()
        with torch.random.fork_rng(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            torch.manual_seed(0)
            logits = model(images(backbone, 3))
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.tensor([0, 1, 2]))
        loss.backward()
        losses.append(loss.item())
        gradients = [p.grad for p in model.trainable_parameters() if p.grad is not None]
        assert gradients and all(g.isfinite().all() for g in gradients)
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
