"""A race: every result is what the run would be alone, and the frozen forward runs once for all side methods."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import peftcore as pc
from peftcore import errors, train
from peftcore.backbone import Backbone
from peftcore.tasks import Split, load_task


@pytest.fixture(autouse=True)
def _small_task(monkeypatch):
    def cut(split, n):
        return Split(split.images[:n], split.labels[:n])

    whole = load_task("digits")
    task = dataclasses.replace(whole, train=cut(whole.train, 24), val=cut(whole.val, 8), test=cut(whole.test, 8))
    monkeypatch.setattr(train, "load_task", lambda name: task)
    monkeypatch.setattr("peftcore.racing.load_task", lambda name: task)


def specs():
    base = pc.RunSpec(epochs=2, batch_size=8, pretrained=False)
    methods = [{"name": "last", "rank": 4}, {"name": "last", "gap": 4}, "lora", "linear", {"name": "last", "rank": 4}]
    made = [base.replace(method=m) for m in methods]
    return [*made[:-1], made[-1].replace(seed=1, lr=1e-2)]


def test_each_result_is_what_it_would_be_alone(monkeypatch):
    alone = [pc.run(spec) for spec in specs()]
    images = []
    taps = Backbone.taps
    monkeypatch.setattr(
        Backbone, "taps", lambda self, x, points, **k: images.append(len(x)) or taps(self, x, points, **k)
    )
    together = pc.race(specs())
    assert [r.spec for r in together] == specs()
    for one, other in zip(alone, together, strict=True):
        assert one.test_accuracy == other.test_accuracy
        for name, tensor in one.model.adapter_state().items():
            assert torch.equal(tensor, other.model.adapter_state()[name]), (one.spec.method, name)
    features = sum(n for n in images if n > 1)  # single images are attach's proof and the estimate of a cache's size
    assert features == 24 + 8 + 4 * 8, "the training and validation images once, the test images once per side method"


def test_an_empty_race_says_so():
    with pytest.raises(errors.InvalidSetting, match="at least one"):
        pc.race([])
