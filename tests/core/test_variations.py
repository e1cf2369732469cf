"""Variations: every combination once, in order, told apart by what varies and nothing else."""

import pytest

from peftcore import errors
from peftcore.spec import RunSpec
from peftcore.store.variations import differences, variations


def dicts(specs):
    return [spec.to_dict() for spec in specs]


def test_every_combination_once_the_first_name_slowest():
    base = RunSpec(method={"name": "last", "gap": 4}, epochs=3)
    made = variations(base, {"rank": [4, 8], "lr": [0.1, 0.01, 0.001]})
    assert [(spec.method.rank, spec.lr) for spec in made] == [(r, lr) for r in (4, 8) for lr in (0.1, 0.01, 0.001)]
    assert {(spec.method.gap, spec.epochs, spec.seed) for spec in made} == {(4, 3, 0)}
    assert variations(base, {}) == [base]


@pytest.mark.parametrize(
    "several",
    [
        {"rank": [4, 8]},
        {"seed": [0, 1, 2]},
        {"method": ["last", "lora"]},
        {"method": ["lora", "last"], "rank": [4, 8], "lr": [0.1, 0.2]},
    ],
)
def test_labels_name_exactly_what_varies(several):
    made = variations(RunSpec(method={"name": "last", "stack": 1}), several)
    labels = differences(dicts(made))
    assert all(set(own) == set(several) for own in labels)
    assert len({tuple(own.values()) for own in labels}) == len(made)
    assert (
        variations(made[0], {name: list(dict.fromkeys(own[name] for own in labels)) for name in several})[0] == made[0]
    )


def test_another_method_starts_from_its_own_defaults():
    base = RunSpec(method={"name": "last", "rank": 4, "gap": 4})
    own, other = variations(base, {"method": ["last", "lora"]})
    assert own == base and other == base.replace(method="lora")
    # Ranks differ as well, but nobody chose that: a method's settings are compared with its own kind.
    assert differences(dicts([own, other])) == [{"method": "last"}, {"method": "lora"}]


def test_a_setting_that_only_one_method_varies_is_named_for_that_method():
    specs = [RunSpec(method={"name": "lora", "rank": 2}), RunSpec(method={"name": "lora", "rank": 4}), RunSpec()]
    assert differences(dicts(specs)) == [
        {"method": "lora", "rank": 2},
        {"method": "lora", "rank": 4},
        {"method": "last"},
    ]


def test_mistakes_are_sentences():
    with pytest.raises(errors.InvalidSetting, match="rank has no value to race"):
        variations(RunSpec(), {"rank": []})
    with pytest.raises(errors.InvalidSetting, match="rank = 0 is not possible"):
        variations(RunSpec(), {"rank": [4, 0]})
    with pytest.raises(errors.UnknownName, match="gap"):
        variations(RunSpec(), {"method": ["last", "lora"], "gap": [1, 2]})


def test_older_specs_that_know_fewer_settings_are_told_apart():
    new = {"method": {"name": "lora", "rank": 4, "qk_norm": True}, "seed": 0, "clip": 1.0}
    specs = [new, {**new, "seed": 1, "method": {**new["method"], "qk_norm": False}}]
    specs.append({"method": {"name": "lora", "rank": 8}, "seed": 0})
    assert differences(specs) == [
        {"rank": 4, "qk_norm": True, "seed": 0},
        {"rank": 4, "qk_norm": False, "seed": 1},
        {"rank": 8, "seed": 0},
    ]
