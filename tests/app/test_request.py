"""The launch page's address and what it asks for: there and back for any runs; any words in a link are answered."""

from __future__ import annotations

import json
import math
from typing import Any, Literal, get_args, get_origin
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app import forms, libraries
from app.launch import raced, request, strangers
from app.runs import races
from peftcore import errors
from peftcore.registry import METHODS
from peftcore.spec import RunSpec, Settings
from peftcore.store import recipes
from peftcore.store.variations import variations
from peftcore.task import embedded_tasks

many = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)


@pytest.fixture(autouse=True, scope="module")
def loaded():
    libraries.load()


def bound(info: Any, *names: str) -> float | None:
    return next((getattr(rule, name) for name in names for rule in info.metadata if hasattr(rule, name)), None)


def values_of(model: type[Settings], name: str) -> st.SearchStrategy[Any]:
    """Values that a field may have, by its type and range."""
    info = model.model_fields[name]
    kind, optional = forms.unwrap(info.annotation)
    if kind == "switch":
        return st.sampled_from(list(forms.SWITCH))
    if kind is bool:
        return st.booleans()
    if options := forms.options_of(kind):
        return st.lists(st.sampled_from(options), min_size=1, unique=True).map(tuple)
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if kind in (int, float):
        low, high = bound(info, "ge", "gt"), bound(info, "le", "lt")
        if kind is int:
            found = st.integers(0 if low is None else low, 10**6 if high is None else high)
        else:
            found = st.floats(low, high, allow_nan=False, allow_infinity=False)
    elif kind is str:
        found = TEXT
    elif get_origin(kind) is dict:
        found = st.dictionaries(TEXT, st.integers() | st.booleans() | TEXT, max_size=3)
    else:  # heads by layer
        found = st.lists(st.lists(st.integers(0, 11), max_size=3), min_size=1, max_size=4)
    found = found.filter(lambda value: not forms.refusal(model, name, value))
    return st.none() | found if optional else found


@st.composite
def specs(draw: st.DrawFn) -> RunSpec:
    """Any run: a method with some of its settings, a recipe with some of its fields, all others the defaults."""
    cls = METHODS.load(draw(st.sampled_from(METHODS.names()))).METHOD
    own = {name: draw(values_of(cls, name)) for name in cls.model_fields if draw(st.booleans())}
    names = [name for name in RunSpec.model_fields if name not in request.CHOSEN_ABOVE]
    recipe = {name: draw(values_of(RunSpec, name)) for name in names if draw(st.integers(0, 3)) == 0}
    backbone = draw(st.sampled_from(["vit_micro", "swin_micro", "vit_base_patch16_224", "hf-hub:a/b c&d=e"]))
    task = draw(st.sampled_from([*embedded_tasks(), "vtab:/a folder?size=64&x=1", "upload:Füße"]))
    try:
        return RunSpec(backbone=backbone, method={"name": cls.name, **own}, task=task, **recipe)
    except errors.HeadroomError:  # a combination of settings that is not possible
        assume(False)
        raise


@st.composite
def a_race(draw: st.DrawFn) -> tuple[RunSpec, dict[str, list[Any]], dict[str, float]]:
    """Any race that the form can ask for."""
    spec = draw(specs())
    cls = type(spec.method)
    names = draw(st.lists(st.sampled_from(raced.offered(cls)), min_size=1, max_size=3, unique=True))
    values: dict[str, list[Any]] = {}
    for name in names:
        if name == "method":
            others = [other for other in METHODS.names() if other != cls.name]
            values[name] = [cls.name, *draw(st.lists(st.sampled_from(others), max_size=3, unique=True))]
        else:
            found = values_of(raced.owner(cls, name), name)
            values[name] = draw(
                st.lists(found, min_size=1, max_size=3, unique_by=lambda v: float(v or 0) if v in (0, 1) else v)
            )
    assume(math.prod(map(len, values.values())) <= raced.MOST_RUNS)
    rates = {}
    if "method" in values and "lr" not in values and draw(st.booleans()):
        rates = {name: draw(values_of(RunSpec, "lr")) for name in values["method"]}
    try:
        made = raced.runs(spec, values, rates)
    except errors.HeadroomError:  # another method has no such setting
        assume(False)
        raise
    return made[0], values, rates


def through_the_address(query: dict[str, list[str]]) -> dict[str, list[str]]:
    """As a browser carries it."""
    return parse_qs(urlencode(query, doseq=True), keep_blank_values=True)


@many
@given(specs())
def test_a_run_comes_back_from_its_link(spec):
    query = through_the_address(request.to_query(spec.to_dict()))
    assert request.opened(query) == query, "a preset of now names its learning rate"
    found = request.from_query(query)
    assert not found.faults and found.specs == [spec] and found.spec.key == spec.key
    assert not strangers.strangers(query)


@many
@given(a_race())
def test_a_race_comes_back_from_its_link(race):
    spec, values, rates = race
    query = through_the_address(request.to_query(spec.to_dict(), values, rates))
    assert request.opened(query) == query
    found = request.from_query(query)
    assert not found.faults and not strangers.strangers(query)
    assert found.values == values and list(found.values) == list(values)
    assert [one.key for one in found.specs] == [one.key for one in raced.runs(spec, values, rates)]
    again = request.to_query(found.spec.to_dict(), found.values, found.own_rates)
    assert request.from_query(again).specs == found.specs


@many
@given(a_race())
def test_what_a_link_does_not_race_is_said(race):
    spec, values, rates = race
    query = request.to_query(spec.to_dict(), values, rates)
    names = query.pop("race").split(",")
    sentences = strangers.strangers(query)
    assert len(sentences) == len([name for name in query if name.startswith("race.")]) == len(names)
    assert request.from_query(query).values == {}
    query["race"] = "rnk"
    assert all("rnk" not in sentence for sentence in strangers.strangers(query)[1:]), "no advice to race what cannot be"
    query["race"] = ",".join([*names, "rnk"])
    assert ["'rnk'" in sentence for sentence in strangers.strangers(query)] == [True]
    assert request.from_query(query).values == values


@many
@given(a_race())
def test_a_race_comes_back_from_the_store(race):
    """What `remember` writes as JSON, and "Launch again" reads."""
    spec, values, rates = race
    kept = json.loads(json.dumps({"spec": spec.to_dict(), "several": values, "rates": rates}))
    assert request.from_query(races.preset(**kept)).specs == raced.runs(spec, values, rates)


def test_a_link_that_races_rates_means_what_it_says_and_no_recipe():
    spec, values = RunSpec(method="last", task="cells"), {"lr": [0.001, 0.003]}
    assert recipes.best("last", "vit_micro").fields["clip"] and spec.clip is None
    query = through_the_address(races.preset(spec.to_dict(), values, {}))
    found = request.from_query(query)
    assert found.specs == raced.runs(spec, values, {}) and {one.clip for one in found.specs} == {None}
    before = {name: texts for name, texts in query.items() if name != "lr"}  # as such links were written once
    assert request.from_query(request.opened(before)).specs == found.specs
    form = request.from_query({"method": ["last"], "race": ["lr"]})  # a form in which rates were just chosen
    assert {one.clip for one in form.specs} == {recipes.best("last", "vit_micro").fields["clip"]}


@many
@given(specs(), st.data())
def test_any_words_in_a_link_are_runs_or_reasons(spec, data):
    """A page that opens; and what is refused is refused by name."""
    query = request.to_query(spec.to_dict()) | {"race": ["rank,lr"]}
    names = data.draw(st.lists(st.sampled_from([*query, "race.rank", "race.lr", "race.method"]), max_size=4))
    for name in names:
        query[name] = data.draw(
            st.lists(st.text(max_size=8) | st.sampled_from(["nan", "1e999", "-0", "[", "null"]), min_size=1, max_size=3)
        )
    found = request.from_query(query)
    assert bool(found.specs) != bool(found.faults)
    assert set(found.faults) <= {"", *query, "race.rank", "race.lr", "race.method"}
    assert all(str(why) for why in found.faults.values())


@settings(deadline=None)  # the first example of a method imports it
@given(st.sampled_from(METHODS.names()), st.sampled_from(["vit_micro", "vit_base_patch16_224"]))
def test_an_address_that_names_no_rate_has_the_best_known(method, backbone):
    found = request.from_query({"method": [method], "backbone": [backbone]})
    assert found.spec == recipes.with_recipe(RunSpec(method=method, backbone=backbone))
    query = {"method": [method], "backbone": [backbone], "race": ["method"], "race.method": ["lora", "last"]}
    for one in request.from_query(query).specs:
        assert one == recipes.at_its_rate(one)


def test_links_with_titles_open():
    query = {"race": ["method"], "race.method": ["Linear probe", "LoRA", "Serial LoRA", "last"]}
    assert request.from_query(query).values == {"method": ["last", "linear", "lora", "serial_lora"]}


def test_a_preset_without_a_rate_is_of_the_days_before_recipes():
    spec = RunSpec(method="lora", epochs=3)
    old = {name: texts for name, texts in request.to_query(spec.to_dict()).items() if name != "lr"}
    assert request.from_query(request.opened(old)).specs == [spec]
    assert request.from_query(old).specs == [recipes.with_recipe(spec, ("epochs",))]
    race = {"epochs": [1, 2], "method": ["lora", "last"]}
    old = {name: texts for name, texts in request.to_query(spec.to_dict(), race).items() if name != "lr"}
    assert request.from_query(request.opened(old)).specs == variations(spec, race)
    for query in ({"method": ["lora"]}, {"method": ["lora"], "seed": ["1"], "epochs": ["3"]}):
        assert request.opened(query) == query
