"""A race: every result is what the run would be alone, and the frozen forward runs once for all side methods."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from trainings import cut
from typer.testing import CliRunner

import peftcore as pc
from peftcore import errors
from peftcore.__main__ import app
from peftcore.backbone.load import Backbone
from peftcore.task import load_task
from peftcore.train import loop, race
from peftcore.train.trainer import Trainer


@pytest.fixture(autouse=True)
def _small_task(monkeypatch):
    task = cut(load_task("digits"), 24, 8, 8)
    monkeypatch.setattr(loop, "load_task", lambda name: task)


def specs():
    base = pc.RunSpec(epochs=2, batch_size=8, pretrained=False)
    methods = [{"name": "last", "rank": 4}, {"name": "last", "gap": 4}, "lora", "linear", {"name": "last", "rank": 4}]
    made = [base.replace(method=m) for m in methods]
    return [*made[:-1], made[-1].replace(seed=1, lr=1e-2)]


def same_weights(one: pc.Result, other: pc.Result) -> bool:
    """To the bit where products of one shape round alike, whatever stands beside them in a batch. Elsewhere the last
    digits differ: by up to 5e-6 of a tensor after a few steps of AdamW, by processor and number of threads."""
    mine, yours = one.model.adapter_state(), other.model.adapter_state()
    return mine.keys() == yours.keys() and all(
        (tensor - yours[name]).norm() <= 2e-5 * tensor.norm() for name, tensor in mine.items()
    )


def count_images(monkeypatch) -> list[int]:
    """How many images each frozen forward sees from now on; single images are attach's proof and a cache's estimate."""
    seen, taps = [], Backbone.taps
    monkeypatch.setattr(
        Backbone, "taps", lambda self, x, points, **k: seen.append(len(x)) or taps(self, x, points, **k)
    )
    return seen


def test_each_result_is_what_it_would_be_alone(monkeypatch):
    alone = [pc.run(spec) for spec in specs()]
    images = count_images(monkeypatch)
    together = pc.race(specs())
    assert [r.spec for r in together] == specs()
    for one, other in zip(alone, together, strict=True):
        assert one.test_accuracy == other.test_accuracy
        assert same_weights(one, other), one.spec.method
    assert sum(n for n in images if n > 1) == 24 + 8 + 8, "each image of each split once, for all side methods"


def test_with_rounded_features_a_racer_tests_on_exact_ones_as_a_run_does():
    base = pc.RunSpec(method="last", epochs=2, batch_size=8, pretrained=False, lr=0.05, cache_precision="bf16")
    for other in pc.race([base, base.replace(seed=1)]):
        one = pc.run(other.spec)
        assert same_weights(one, other)
        np.testing.assert_allclose(one.predictions["probabilities"], other.predictions["probabilities"], atol=1e-5)


def test_each_racer_is_clipped_by_its_own_gradients():
    base = pc.RunSpec(epochs=2, batch_size=8, pretrained=False, method={"name": "last", "rank": 4})
    racers = [base, base.replace(clip=0.5), base.replace(clip=0.5, seed=1), base.replace(method="linear", clip=0.1)]
    alone = [pc.run(spec) for spec in racers]
    assert not same_weights(alone[0], alone[1])
    assert all(same_weights(one, other) for one, other in zip(alone, pc.race(racers), strict=True))


def test_where_features_are_not_kept_those_that_see_the_same_images_share_a_forward(monkeypatch):
    base = pc.RunSpec(
        epochs=1, batch_size=8, pretrained=False, augmentation="light", method={"name": "last", "rank": 4}
    )
    racers = [base, base.replace(lr=1e-2), base.replace(method={"name": "last", "gap": 4}), base.replace(seed=1)]
    alone = [pc.run(spec) for spec in racers]
    images = count_images(monkeypatch)
    together = pc.race(racers)
    assert all(same_weights(one, other) for one, other in zip(alone, together, strict=True))
    # Of three steps the second is traced, so computed alone, as validation, side attention's entropy and test are.
    assert sum(n for n in images if n > 1) == 2 * 2 * 8 + 4 * 8 + 4 * (8 + 8 + 8)


def test_a_failing_run_is_reported_and_the_others_continue(monkeypatch):
    base = pc.RunSpec(epochs=2, batch_size=8, pretrained=False, method="linear")
    racers = [base, base.replace(lr=1e-2), base.replace(seed=1)]
    alone, together = pc.run(racers[2]), race._together

    def with_one_broken(lanes):
        return {i: loss * (float("nan") if i == 1 else 1) for i, loss in together(lanes).items()}

    monkeypatch.setattr(race, "_together", with_one_broken)
    last = dict(race.race_events(racers))
    assert [last[i].kind for i in range(3)] == ["finished", "failed", "finished"]
    assert last[1].error == "Diverged" and "learning rate" in last[1].message
    assert last[2].test_accuracy == alone.test_accuracy
    with pytest.raises(errors.Diverged, match="learning rate"):
        pc.race(racers)


def test_those_left_out_go_no_further_and_change_nothing_for_the_others():
    base = pc.RunSpec(epochs=2, batch_size=8, pretrained=False, method="linear")
    racers = [base, base.replace(lr=1e-2), base.replace(method={"name": "lora", "rank": 2})]
    events, out = [], set()
    stream = race.race_events(racers, left_out=lambda: out)
    for i, event in stream:
        events.append((i, event))
        if event.kind == "step" and event.step == 4:
            out |= {1, 2}
    steps = {i: [e.step for which, e in events if which == i and e.kind == "step"] for i in range(3)}
    assert steps[0] == [1, 2, 3, 4, 5, 6] and steps[1][-1] in (3, 4) and not steps[2]
    alone = pc.run(base)
    assert dict(events)[0].test_accuracy == alone.test_accuracy and dict(events)[0].blob is not None


def test_the_command_ranks_and_one_that_fails_ends_no_other():
    words = ("race", "--epochs", "1", "--batch-size", "8", "--no-pretrained", "--vary", "gap=60,4,8", "--json")
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer[0]["test_accuracy"] >= answer[1]["test_accuracy"] >= 0
    assert {one["spec"]["method"]["gap"] for one in answer[:2]} == {4, 8}
    assert answer[2]["error"] == "DoesNotFit" and "gap 60 is above the depth" in answer[2]["message"]


def test_the_title_names_what_was_raced_and_not_the_defaults():
    words = ("race", "--method", "linear", "--epochs", "1", "--no-pretrained", "--vary", "task=few:cells,few:digits")
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and "Linear probe on few:cells, few:digits, vit_micro" in result.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [(("predict", "--method", "last", "--set", "name=lora"), "--method lora"),
     (("race", "--epochs", "1", "--vary", "name=linear,last"), "method=lora,last")],
)  # fmt: skip
def test_a_method_is_not_named_as_a_setting(words, says):
    with pytest.raises(errors.InvalidSetting, match=says):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_an_empty_race_is_an_error():
    with pytest.raises(errors.InvalidSetting, match="at least one"):
        pc.race([])


def test_a_backbone_that_cannot_be_had_fails_its_own_runs_alone():
    base = pc.RunSpec(epochs=1, batch_size=8, pretrained=False, method="linear")
    last = dict(race.race_events([base.replace(backbone="resnet18"), base]))
    assert [last[i].kind for i in range(2)] == ["failed", "finished"] and last[0].error == "DoesNotFit"


def test_out_of_memory_in_one_run_leaves_the_others(monkeypatch):
    base = pc.RunSpec(epochs=1, batch_size=8, pretrained=False, method="linear")
    evaluate = Trainer.evaluate

    def tight(self, *args):
        if self.spec.seed == 1:
            raise torch.OutOfMemoryError("no more")
        return evaluate(self, *args)

    monkeypatch.setattr(Trainer, "evaluate", tight)
    last = dict(race.race_events([base, base.replace(seed=1), base.replace(seed=2)]))
    assert [last[i].kind for i in range(3)] == ["finished", "failed", "finished"]
    assert last[1].error == "OutOfMemory" and "batch smaller" in last[1].message


@pytest.mark.parametrize("splits, cached", [(2, {"train", "val"}), (3, {"train", "val", "test"}), (1, set())])
def test_a_race_keeps_what_the_budget_allows_once(monkeypatch, splits, cached):
    """One set of features for all, without the test images where they are too many; no spec keeps a set of its own."""
    base = pc.RunSpec(epochs=1, batch_size=8, pretrained=False, method="linear")
    one_image = 128 * 4
    room = {1: 24, 2: 32, 3: 40}[splits] * one_image
    monkeypatch.setattr("peftcore.features.plan.budgets", lambda device: {"host": room})
    made = []

    def noted(*args, **kwargs):
        made.append(Trainer(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(race, "Trainer", noted)
    last = dict(race.race_events([base, base.replace(seed=1)]))
    assert all(event.kind == "finished" for event in last.values())
    assert [set(t.caches) for t in made] == [cached, cached]
    if splits == 1:
        with pytest.raises(errors.OutOfMemory, match="fit nowhere"):
            pc.race([base.replace(cache_features=True), base.replace(cache_features=True, seed=1)])


def test_batches_of_one_size_are_not_always_of_the_same_images(monkeypatch):
    """Of 36 images in batches of 20 and of 16, both second batches have 16 images, but different ones."""
    monkeypatch.setattr(loop, "load_task", lambda name: cut(load_task("digits"), 36, 8, 8))
    base = pc.RunSpec(epochs=2, pretrained=False, method="linear", cache_features=False)
    racers = [base.replace(batch_size=size) for size in (20, 16)]
    alone = [pc.run(spec) for spec in racers]
    assert all(same_weights(one, other) for one, other in zip(alone, pc.race(racers), strict=True))
