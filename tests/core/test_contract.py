"""What every method promises, for all in the registry and for two that a test adds at run time."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path

import laws
import pytest
import torch
from backbones import BOTH, MICRO, images

import peftcore as pc
import peftcore.methods
from peftcore import errors
from peftcore.figures.method_style import method_colour, method_title
from peftcore.memory import COMPONENTS
from peftcore.methods import SideNetwork
from peftcore.methods._scores import head_pairs
from peftcore.registry import METHODS, Facts, Methods

OWN_START = ("bi_lora", "heart_lora", "side_tuning", "ssf", "vpt")  # by their papers; all others are the probe at first
NEW = {"gated_probe": "side", "channel_scale": "in-backbone"}  # tests/newcomers

pytestmark = pytest.mark.usefixtures("newcomers")
of_every_method = pytest.mark.parametrize("name", [*METHODS.names(), *NEW])
on_embedded = pytest.mark.parametrize("family", MICRO)
on_small = pytest.mark.parametrize("family", BOTH)  # a depth that nothing divides, a grid that is not square
everywhere = pytest.mark.parametrize("family", (*MICRO, *BOTH))


@functools.cache
def attached(family: str, name: str) -> pc.TunedModel:
    """The method with its defaults, as it starts; where it does not fit, there is nothing to test."""
    try:
        return laws.attached(family, name)
    except errors.DoesNotFit as why:
        pytest.skip(str(why))


@functools.cache
def trained(family: str, name: str) -> pc.TunedModel:
    """After a few steps, in which only its own weights moved."""
    attached(family, name)
    return laws.trains_its_own_and_nothing_else(family, name, steps=3)


def test_newcomers_are_found_by_themselves(newcomers):
    assert {name: METHODS.facts(name).kind for name in newcomers} == NEW
    assert set(NEW) <= set(pc.methods())


@of_every_method
def test_its_facts_are_its_class_attributes(name):
    """Facts read from the source equal those that Python sees, and the card repeats none of them."""
    facts, cls = METHODS.facts(name), METHODS.load(name).METHOD
    assert facts == Facts(**{field: getattr(cls, field) for field in Facts.__dataclass_fields__})
    assert cls.card.title == facts.title == method_title(name)
    assert cls().settings()["name"] == name
    for colour in (facts.colour, facts.dark_colour):
        assert re.fullmatch("(#[0-9A-F]{6})?", colour)


def test_methods_are_told_apart():
    facts = [METHODS.facts(name) for name in METHODS.names()]
    for said in ([f.title for f in facts], [f.colour for f in facts if f.colour]):
        assert len(set(said)) == len(said)
    coloured = [f.name for f in facts if f.colour]
    assert len({method_colour(name, dark=True) for name in coloured}) == len(coloured)
    for bound in ("upper", "lower"):
        assert len(METHODS.names(baseline=bound)) == 1


@of_every_method
def test_it_fits_an_embedded_backbone(name):
    """A method may refuse one of them, with a reason, but not both."""
    refusals = []
    for family in MICRO:
        try:
            laws.attached(family, name)
        except errors.DoesNotFit as why:
            refusals.append(str(why))
    assert len(refusals) < len(MICRO), refusals


@everywhere
@of_every_method
def test_it_starts_as_declared(family, name):
    model, probe = attached(family, name), attached(family, METHODS.baseline("lower"))
    assert torch.equal(model.head.weight, probe.head.weight)
    assert laws.logits(model).isfinite().all()
    if name not in OWN_START:
        laws.starts_as_the_probe(family, name)
    else:
        assert not torch.equal(laws.logits(model), laws.logits(probe))


@on_small
@of_every_method
def test_it_follows_from_the_seed(family, name):
    attached(family, name)
    laws.follows_from_the_seed(family, name)


@everywhere
@of_every_method
def test_only_its_own_trains(family, name):
    trained(family, name)


@everywhere
@of_every_method
def test_its_state_comes_back(family, name):
    laws.comes_back(trained(family, name))


@everywhere
@of_every_method
def test_it_merges_where_declared(family, name):
    model = trained(family, name)
    (laws.merges if model.method.card.mergeable else laws.cannot_merge)(model)


@on_embedded
@of_every_method
def test_its_kind_is_what_it_does(family, name):
    """A side method only reads: its features need no gradient, suffice, and are the same in every forward."""
    model = trained(family, name).eval()
    batch = images(model.backbone)
    assert isinstance(model.tuner, SideNetwork) == model.is_side == (METHODS.facts(name).kind == "side")
    if not model.is_side:
        with pytest.raises(errors.DoesNotFit, match="has no frozen features"):
            model.features(batch)
        return
    features = model.features(batch)
    assert not any(feature.requires_grad for feature in features)
    assert torch.equal(model.from_features(features), model(batch))
    assert torch.equal(model.from_features(model.features(batch)), model(batch))


@on_embedded
@of_every_method
def test_it_shows_what_it_declares(family, name):
    model, shows = trained(family, name), METHODS.facts(name).shows
    batch, labels = images(model.backbone), torch.arange(2)
    if shows == "attention":
        maps = pc.side_attention(model, batch)
        grids = [model.backbone.blocks[block].grid for block in model.tuner.attended]
        assert len(maps) == len(grids) > 0
        for map, (h, w) in zip(maps, grids, strict=True):
            assert map.shape[0] == 2 and map.shape[1] == map.shape[2] >= h * w
            torch.testing.assert_close(map.sum(-1), torch.ones_like(map[..., 0]))
    else:
        with pytest.raises(errors.NotMeasurable, match="no side network with attention"):
            pc.side_attention(model, batch)
    if shows == "heads":
        assert head_pairs(model.tuner) and (pc.head_scores(model, batch, labels).values > 0).any()
    else:
        with pytest.raises(errors.NotMeasurable, match="Head scores need low-rank updates"):
            pc.head_scores(model, batch, labels)


@on_embedded
@of_every_method
def test_its_memory_is_predicted(family, name):
    model = copy.deepcopy(attached(family, name)).train()  # measuring it takes a step
    anatomy = pc.load_backbone(family, pretrained=False, device="meta")
    batch, labels = images(model.backbone, 4), torch.arange(4)

    def compare(**cached: object) -> None:
        optimizer = torch.optim.AdamW(model.trainable_parameters(), fused=True)
        found = pc.measure_step(model, None if cached else batch, labels, optimizer, **cached)
        forecast = laws.predicted_step(pc.attach(anatomy, name, laws.CLASSES), tuple(batch.shape), cached=bool(cached))
        assert forecast.predicted and not found.predicted
        assert forecast.peak == pytest.approx(found.peak, rel=0.005)
        assert forecast.above_weights == pytest.approx(found.above_weights, rel=0.01)
        assert forecast.kept == pytest.approx(found.kept, rel=0.02)
        for part in COMPONENTS:
            assert forecast.components[part] == pytest.approx(found.components[part], rel=0.03, abs=2048)

    compare()
    if model.is_side:
        compare(features=tuple(feature.clone() for feature in model.features(batch)))


SOURCE = """
from peftcore.methods import Method

class Mine(Method):
    name = "mine"
    title = "Mine"
    kind = "side"

METHOD = Mine
"""


@pytest.mark.parametrize(
    "before, after, says",
    [
        ('title = "Mine"', 'title = "Mi" + "ne"', "a title"),
        ('kind = "side"', 'kind = "beside"', "'in-backbone' or 'side'"),
        ('name = "mine"', 'name = "other"', "name = 'mine'"),
        ("METHOD = Mine", "METHOD = Method", "a class of this file"),
        ("METHOD = Mine", "", "a class of this file"),
        ("METHOD = Mine", "METHOD = (", "is no Python that can be read: '(' was never closed"),
        ("METHOD = Mine", "\0", "is no Python that can be read"),
    ],
)
def test_missing_facts_in_a_file_are_named(tmp_path: Path, monkeypatch, before, after, says):
    monkeypatch.setattr(peftcore.methods, "__path__", [*peftcore.methods.__path__])
    (tmp_path / "mine.py").write_text(SOURCE.replace(before, after))
    registry = Methods("methods", "method")
    registry.add_folder(tmp_path)
    with pytest.raises(errors.InvalidSetting, match="mine.py") as refusal:
        registry.facts("mine")
    assert says in str(refusal.value)


def test_a_name_is_given_once(tmp_path: Path):
    (tmp_path / "lora.py").write_text(SOURCE)
    with pytest.raises(errors.InvalidSetting, match="'lora' already"):
        METHODS.add_folder(str(tmp_path))
    with pytest.raises(errors.InvalidSetting, match="no folder .* with a method"):
        METHODS.add_folder(tmp_path / "nowhere")
    assert METHODS.facts("lora").title == "LoRA"
