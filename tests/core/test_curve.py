"""A measurement's run: the weights and accuracies of `finetune`, without what only people look at."""

from __future__ import annotations

import pytest
from trainings import cut, drain

from peftcore.backbone.load import load_backbone
from peftcore.bench._curve import curve
from peftcore.spec import RunSpec
from peftcore.task import load_task
from peftcore.train import loop
from peftcore.train.trainer import Trainer


@pytest.fixture(scope="module")
def small():
    return load_backbone("vit_micro", pretrained=False), cut(load_task("digits"), 60, 24, 24)


@pytest.mark.parametrize(
    "method", ["last", "linear", {"name": "heart_lora", "warmup_epochs": 1}, {"name": "lora", "dropout": 0.1}]
)
def test_its_accuracies_are_those_of_finetune(small, method, monkeypatch):
    backbone, task = small
    spec = RunSpec(method=method, epochs=3, batch_size=20, lr=0.02, pretrained=False, device="cpu")
    monkeypatch.setattr(loop, "load_task", lambda name: task)
    events, _ = drain(loop.finetune(spec, backbone=backbone))
    found = curve(spec, backbone, task, at=(1, 2), test=True)
    end = events[-1]
    assert found.val == {row["epoch"]: row["val_accuracy"] for row in end.epochs} and found.test == end.test_accuracy
    assert list(found.cpu) == [1, 2, 3] and 0 < found.cpu[1] < found.cpu[2] < found.cpu[3]
    assert found.seconds == pytest.approx(found.features + found.evaluation + found.cpu[3])


def test_it_looks_only_where_it_is_asked_to(small, monkeypatch):
    backbone, task = small
    looked: list[tuple[str, int]] = []
    evaluate = Trainer.evaluate
    monkeypatch.setattr(Trainer, "evaluate", lambda self, *of: looked.append(of) or evaluate(self, *of))
    found = curve(RunSpec(method="linear", epochs=5, device="cpu", pretrained=False), backbone, task, at=(2,))
    assert looked == [("val", 2), ("val", 5)] and found.test is None and found.parameters == 0
