"""Copies of a model are independent: for every method, deep, pickled, averaged or merged, whatever its state."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from backbones import BOTH, MICRO, images, small
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

import peftcore as pc
from peftcore import errors
from peftcore.methods import Coach
from peftcore.registry import METHODS

CLASSES = 4
NEW = ("gated_probe", "channel_scale")  # tests/newcomers
of_every_method = pytest.mark.parametrize("name", [*METHODS.names(), *NEW])

pytestmark = pytest.mark.usefixtures("newcomers")


def attached(name: str, family: str, seed: int = 0, **settings) -> pc.TunedModel:
    try:
        return pc.attach(small(family), pc.make_method(name, **settings), CLASSES, seed, verify=False)
    except errors.DoesNotFit as why:
        pytest.skip(str(why))


def train(model: pc.TunedModel, steps: int = 1, coached: bool = False) -> pc.TunedModel:
    """Some steps in train mode; the model's coach makes Heart-LoRA cut."""
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=1e-2)
    coach = model.method.coach(model, optimizer, 1, steps) if coached else Coach()
    for step in range(1, steps + 1):
        F.cross_entropy(model.train()(images(model.backbone)), torch.arange(2)).backward()
        coach.after_backward()
        optimizer.step()
        list(coach.after_step(step, 1))
        optimizer.zero_grad()
    return model


def watched(name: str, family: str) -> pc.TunedModel:
    """A model in the middle of a step whose head scores are being collected."""
    model = attached(name, family)
    coach = model.method.coach(model, torch.optim.AdamW(model.trainable_parameters()), 5, 10)
    F.cross_entropy(model.train()(images(model.backbone)), torch.arange(2)).backward()
    coach.after_backward()
    return model


def logits(model: torch.nn.Module, family: str) -> Tensor:
    """In eval mode; the model's own mode is left as it was."""
    mode = model.training
    with torch.no_grad():
        given = model.eval()(images(small(family)))
    model.train(mode)
    return given


def pickled(model: pc.TunedModel) -> pc.TunedModel:
    return pickle.loads(pickle.dumps(model))


def saved(model: pc.TunedModel) -> pc.TunedModel:
    torch.save(model, file := io.BytesIO())
    file.seek(0)
    return torch.load(file, weights_only=False)


def memory(model: pc.TunedModel) -> set[int]:
    return {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}


def copies_are_copies(model: pc.TunedModel, family: str) -> None:
    """Equal to the bit, in the same mode, in memory of their own; training one then moves none of the others."""
    copies = [copy.deepcopy(model), pickled(model), pickled(copy.deepcopy(saved(model)))]
    before = logits(model, family)
    for twin in copies:
        assert torch.equal(before, logits(twin, family))
        assert twin.training == model.training and not twin.trunk.training
        assert twin.adapter_state().keys() == model.adapter_state().keys()
        assert twin.parameter_counts() == model.parameter_counts() and twin.fingerprint == model.fingerprint
        assert not memory(twin) & memory(model)
    for number, one in enumerate((model, *copies[:2])):
        train(one)
        moved = [not torch.equal(before, logits(other, family)) for other in (model, *copies)]
        assert moved == [True] * (number + 1) + [False] * (len(copies) - number)


@pytest.mark.parametrize("family", MICRO)
@of_every_method
def test_a_copy_is_equal_and_independent(name: str, family: str) -> None:
    copies_are_copies(train(attached(name, family)), family)


@pytest.mark.parametrize("family", BOTH)
def test_a_copy_of_heart_lora_after_its_cut(family: str) -> None:
    model = attached("heart_lora", family, rank=4)
    rows = model.parameter_counts()["method"]
    train(model, 3, coached=True)
    assert model.parameter_counts()["method"] < rows
    copies_are_copies(model.eval(), family)


@pytest.mark.parametrize("name", ["lora", "bi_lora", "heart_lora"])
@pytest.mark.parametrize("family", BOTH)
def test_a_copy_while_scores_are_collected(name: str, family: str) -> None:
    """The graph of a step is not part of a copy, and nothing collects from it."""
    model = watched(name, family)
    assert all(a.pair.collect for a in model.tuner) and not any(a.pair.collect for a in copy.deepcopy(model).tuner)
    copies_are_copies(model, family)


class Broken(Exception):
    pass


def breaks(*_: object) -> None:
    raise Broken


@pytest.mark.parametrize("part", ["mlp.fc1", "attn.proj"])
@of_every_method
def test_a_copy_after_a_forward_that_broke_off(name: str, part: str) -> None:
    """What a hook keeps for the rest of a forward belongs to its graph, and copies do not share it."""
    model = attached(name, "vit")
    broken = model.trunk.get_submodule(f"{model.backbone.blocks[-1].path}.{part}").register_forward_pre_hook(breaks)
    with pytest.raises(Broken):
        model.trunk(images(model.backbone))
    broken.remove()
    assert torch.equal(logits(copy.deepcopy(model), "vit"), logits(model, "vit"))


@pytest.mark.parametrize("family", BOTH)
@of_every_method
def test_averaged_weights_compute_as_averaged(name: str, family: str) -> None:
    """Of two states of a model: by torch's AveragedModel, and by loading their mean."""
    model = attached(name, family)
    average, states = AveragedModel(model), []
    for _ in range(2):
        average.update_parameters(train(model))
        states.append(model.adapter_state())
    mean = {n: (t + states[1][n]) / 2 if t.is_floating_point() else t for n, t in states[0].items()}
    torch.testing.assert_close(average.module.adapter_state(), mean)
    loaded = attached(name, family, seed=7)
    loaded.load_adapter_state(average.module.adapter_state())
    assert torch.equal(logits(average, family), logits(loaded, family))
    assert not torch.allclose(logits(average, family), logits(model, family), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", BOTH)
@of_every_method
def test_a_copy_merges_and_is_saved_as_what_it_is(name: str, family: str) -> None:
    model = train(attached(name, family))
    twin, expected = copy.deepcopy(model), logits(model, family)
    train(model)  # which the copy must not follow
    again = pc.adapters.from_bytes(pc.adapters.to_bytes(twin), small(family))
    assert torch.equal(logits(again, family), expected)
    try:
        plain = pc.merge(twin)
    except errors.CannotMerge:
        return
    torch.testing.assert_close(logits(plain, family), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", BOTH)
@of_every_method
def test_a_model_that_takes_another_type_takes_nobody_with_it(name: str, family: str) -> None:
    """Neither the backbone nor another model on it; and what it saves still belongs to the weights it was made of."""
    shared = small(family)
    before, stands = shared.module(images(shared)), attached("linear", family)
    model = attached(name, family).double()
    assert {p.dtype for p in model.parameters() if p.is_floating_point()} == {torch.float64}
    assert torch.equal(shared.module(images(shared)), before) and shared.fingerprint == shared.hash_weights()
    assert torch.equal(logits(stands, family), stands.head(before))
    again = pc.adapters.from_bytes(pc.adapters.to_bytes(model), shared)
    assert again.fingerprint == model.fingerprint == shared.fingerprint
    torch.testing.assert_close(again.adapter_state(), model.float().adapter_state())


@of_every_method
def test_a_backbone_that_carries_a_method_takes_no_other(name: str) -> None:
    """What it carries would be in no file of the other's; a side network leaves its backbone as it is."""
    model = attached(name, "vit")
    if model.is_side:
        pc.attach(model.backbone, "lora", CLASSES)
        return
    with pytest.raises(errors.InvalidSetting, match=f"carries {model.method.title}"):
        pc.attach(model.backbone, "lora", CLASSES)
