"""Collapse is noticed while it happens: by the entropy of side attention, a loss at chance, an accuracy that falls."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch
from trainings import cut, drain

import peftcore as pc
from peftcore.store.collapse import collapse
from peftcore.store.recipes import best
from peftcore.task import load_task

SPEC = pc.RunSpec(lr=0.02, epochs=10, warmup=0.2).to_dict()
STARTED = {"classes": list("abcd"), "settings": {"images": {"val": [100, 25]}}}


def evaluation(epoch, accuracy, loss):
    return {"epoch": epoch, "split": "val", "accuracy": accuracy, "loss": loss}


def entropy(epoch, *values):
    return {"epoch": epoch, "values": values}


@pytest.fixture(scope="module")
def watched():
    """The events of a run whose projections to q and k are then made very large, and its trainer."""
    from peftcore.train.loop import step
    from peftcore.train.trainer import Trainer

    spec = pc.RunSpec(method="last", task="digits", epochs=2, batch_size=16, lr=1e-6, device="cpu")
    trainer = Trainer(spec, pc.load_backbone("vit_micro"), cut(load_task("digits"), 16, 16, 16))
    events = list(trainer.begin())
    for batch in trainer.batches():
        if batch.epoch == 1:
            with torch.no_grad():
                for name, tensor in trainer.model.named_trainable():
                    if ".q." in name or ".k." in name:
                        tensor.mul_(1000)
        events += trainer.after_step(batch, step(trainer, batch))
    return events


def test_entropy_is_one_where_all_are_looked_at_and_zero_where_one_is(watched):
    wide, narrow = (event for event in watched if event.kind == "side_entropy")
    assert (wide.epoch, narrow.epoch) == (1, 2) and len(wide.values) == 8
    assert all(0.9 < value <= 1 for value in wide.values)
    assert all(0 <= value < 0.1 for value in narrow.values)
    seen = [event.to_dict() for event in (wide, narrow)]
    bad = [evaluation(3, 0.3, 1.2)]
    assert collapse(SPEC, STARTED, bad, seen[:1]) is None
    assert collapse(SPEC, STARTED, bad, seen).name == "attention collapsed"
    assert collapse(SPEC, STARTED, [evaluation(3, 0.7, 1.2)], seen) is None, "it is right all the same"
    assert collapse(SPEC, STARTED, [evaluation(2, 0.3, 1.2)], seen) is None, "the warm-up ends with epoch 2"


def test_methods_without_side_attention_have_no_entropy(monkeypatch):
    monkeypatch.setattr("peftcore.train.loop.load_task", lambda _: cut(load_task("digits"), 16, 16, 16))
    seen, _ = drain(pc.finetune(pc.RunSpec(method="linear", epochs=1, device="cpu")))
    assert "side_entropy" not in {event.kind for event in seen}


def test_where_nothing_is_learnt_below_the_known_rate_the_remedy_is_a_higher_one():
    bad, known = [evaluation(3, 0.25, math.log(4))], best("last", "vit_micro").lr
    found = collapse(SPEC | {"lr": known / 100}, STARTED, bad, [])
    assert found.lr == known and f"higher learning rate than {known / 100:g}, such as {known:g}" in found.remedy
    assert collapse(SPEC | {"lr": 8 * known}, STARTED, bad, []).lr == 2 * known
    normalised = SPEC | {"lr": known / 100, "method": SPEC["method"] | {"qk_norm": True}}
    assert collapse(normalised, STARTED, bad, []).lr == best("last", "vit_micro").values["lr"], "of that setting"
    strange = SPEC | {"lr": 1e-9, "method": {"name": "of_another_version"}}
    assert "lower" in collapse(strange, STARTED, bad, []).remedy


def test_the_remedy_names_what_the_recipe_has_not_got_yet():
    bad = [evaluation(3, 0.3, 1.2)]
    found = collapse(SPEC, STARTED, bad, [entropy(3, 0.02, 0.1, 0.9)])
    assert found.epoch == 3 and "2 of 3 modules" in found.finding and "entropy 0.02" in found.finding
    assert "0.02, such as 0.005" in found.remedy and "qk_norm" in found.remedy and "clip=1" in found.remedy
    better = SPEC | {"clip": 1.0, "method": SPEC["method"] | {"qk_norm": True}}
    remedy = collapse(better, STARTED, bad, [entropy(3, 0.02)]).remedy
    assert "lower learning rate" in remedy and "qk_norm" not in remedy and "clip" not in remedy
    assert collapse(SPEC, STARTED, bad, [entropy(2, 0.02), entropy(3, 0.5)]) is None, "it has recovered"
    assert collapse(SPEC, STARTED, bad, [entropy(3, 0.02, 0.5, 0.9)]) is None, "one module of three"


@pytest.mark.parametrize(
    ("epoch", "accuracy", "loss", "named"),
    [
        (3, 0.25, 1.39, "at chance"),
        (2, 0.25, 1.39, None),  # the warm-up ends with epoch 2
        (3, 0.60, 1.39, None),  # sure of nothing, and right
        (3, 0.25, 1.20, None),
    ],
)
def test_a_loss_at_chance_after_the_warm_up(epoch, accuracy, loss, named):
    assert math.log(4) < 1.39
    found = collapse(SPEC, STARTED, [evaluation(1, 0.2, 9.0), evaluation(epoch, accuracy, loss)], ())
    assert (found and found.name) == named
    assert found is None or asdict(found)["epoch"] == epoch and "1.39" in found.sentence
    older = {"classes": list("abcd"), "settings": {}}
    assert collapse(SPEC, older, [evaluation(3, 0.25, 1.39)], ()) is None, "the number of images is not known"


def falling(*accuracies):
    return [evaluation(n + 3, accuracy, 1.0) for n, accuracy in enumerate(accuracies)]


def test_an_accuracy_that_falls_by_more_than_chance_and_a_cut_explain():
    assert collapse(SPEC, STARTED, falling(0.5, 0.7, 0.55), ()) is None, "100 images differ so much by chance"
    found = collapse(SPEC, STARTED, falling(0.5, 0.7, 0.45), ())
    assert found.name == "fell back" and found.lr == 0.005 and "lower learning rate than 0.02" in found.remedy
    assert "fell from 0.70 after epoch 4 to 0.45 after epoch 5" in found.finding and "clip=1" in found.remedy
    assert collapse(SPEC, STARTED, falling(0.5, 0.7, 0.45, 0.65), ()) is None, "it has recovered"
    to_chance = falling(0.7, 0.25)
    to_chance[-1]["loss"] = 1.5
    assert collapse(SPEC | {"lr": 1e-9}, STARTED, to_chance, ()).name == "fell back", "a higher rate would be wrong"
    heart = SPEC | {"method": pc.RunSpec(method="heart_lora").method.model_dump(mode="json")}
    early = [evaluation(1, 0.7, 1.0), evaluation(3, 0.4, 1.2)]
    assert collapse(heart, STARTED, early, ()) is None, "the cut came after epoch 1"
    assert (
        collapse(heart | {"method": heart["method"] | {"warmup_epochs": 4}}, STARTED, falling(0.7, 0.7, 0.4), ())
        is None
    )
    assert collapse(heart, STARTED, falling(0.7, 0.4), ()).name == "fell back"
