"""The search for recipes: it climbs to the best rate, goes on where it stopped, and asks for no test image."""

from __future__ import annotations

import json
import math
import random
from itertools import count

import pytest

from peftcore import errors
from peftcore.bench import _candidates, recipes
from peftcore.bench._candidates import RATES, SEEDS, Candidate, Space, best, mean, missing
from peftcore.bench._run_log import RunLog
from peftcore.spec import RunSpec

optuna = pytest.importorskip("optuna")
from peftcore.bench import _run_log, _search  # noqa: E402
from peftcore.bench._search import Search, Stopped  # noqa: E402

SPACE = Space(0.02, 10, 40, ("published", "ours"), (), ("0.05",))


def searched(space: Space, value, stage: str = "decay") -> dict:
    """Every trial that the rules ask for; `value(candidate, seed)` is what each reaches."""
    tried: dict = {}
    for n in count():
        assert n < 500, "the rules ask for ever more"
        if (trial := missing(space, tried, stage)) is None:
            return tried
        assert trial not in tried
        tried[trial] = value(*trial)


def hill(peak: float):
    return lambda candidate, seed=0: 60 - 5 * abs(math.log10(candidate.lr / peak)) + seed / 10


@pytest.mark.parametrize("peak", RATES[1:-1])
@pytest.mark.parametrize("start", [RATES[0], 0.02, RATES[-1]])
def test_the_best_rate_has_worse_ones_on_both_sides_wherever_the_climb_begins(peak, start):
    space = Space(start, 10, 10)
    tried = searched(space, hill(peak), "rates")
    found = best(space, tried, "rates")
    assert found.lr == peak and mean(tried, found) == pytest.approx(60.1)
    rates, place = {candidate.lr for candidate, _ in tried}, RATES.index(peak)
    assert {RATES[place - 1], RATES[place + 1]} <= rates


def test_a_rate_far_behind_the_best_with_the_first_seed_is_not_tried_with_the_others():
    def value(gap):
        return lambda candidate, seed: 60 - gap * abs(round(math.log10(candidate.lr / 0.01), 1))

    for gap, finalists in ((5, 2), (30, 1)):  # the neighbours are half a decade away
        tried = searched(SPACE, value(gap), "rates")
        assert len({candidate.lr for candidate, seed in tried if seed == 2}) == finalists


@pytest.mark.parametrize("seed", range(20))
def test_the_ends_are_never_the_best_however_noisy_runs_are(seed):
    numbers = random.Random(seed)
    tried = searched(SPACE, lambda c, s: hill(0.01)(c, s) + numbers.gauss(0, 4))
    found = best(SPACE, tried)
    rates = [c.lr for c, _ in tried if (c.variant, c.epochs) == (found.variant, found.epochs)]
    assert min(rates) < found.lr < max(rates)
    assert {seed for c, seed in tried if c == found} == set(SEEDS)


def test_a_rate_that_diverges_or_is_stopped_is_worse_than_any_other():
    tried = searched(Space(0.1, 10, 10), lambda c, s: hill(0.1)(c, s) if c.lr <= 0.01 else -math.inf, "rates")
    assert best(Space(0.1, 10, 10), tried, "rates").lr == 0.01
    assert best(SPACE, searched(SPACE, lambda c, s: -math.inf)) is None


@pytest.mark.parametrize("gain, wins", [(0.9, False), (1.1, True)])
def test_more_epochs_another_decay_and_what_is_ours_must_win_by_a_margin(gain, wins):
    def value(candidate: Candidate, seed: int) -> float:
        more = (candidate.epochs > 10) + (candidate.decay != "default") + (candidate.variant == "ours")
        return hill(0.01)(candidate, seed) + gain * more

    found = best(SPACE, searched(SPACE, value))
    assert found == (Candidate(0.01, 20, "ours", "0.05") if wins else Candidate(0.01, 10))


def test_more_epochs_are_tried_where_the_recipe_keeps_its_own_and_everything_after_them_is_of_these():
    space = Space(0.02, 10, 40, decays=("0.05",), keeps_epochs=True)
    tried = searched(space, lambda c, s: hill(0.01)(c, s) + c.epochs / 5)
    assert best(space, tried) == Candidate(0.01, 10) and {c.epochs for c, _ in tried} == {10, 20}
    assert mean(tried, Candidate(0.01, 20)) > mean(tried, Candidate(0.01, 10)) + 1
    assert {c.epochs for c, _ in tried if c.decay == "0.05"} == {10}


@pytest.mark.parametrize("gain, seeds, wins", [(-0.1, 1, False), (0.9, 3, False), (1.1, 3, True)])
def test_an_option_is_tried_at_the_rate_that_stands_and_must_win_by_a_margin(gain, seeds, wins):
    space = Space(0.02, 10, 20, options=("bounded",))
    tried = searched(space, lambda c, s: hill(0.01)(c, s) + gain * (c.variant == "bounded"))
    bounded = [trial for trial in tried if trial[0].variant == "bounded" and trial[0].epochs == 10]
    assert [seed for _, seed in bounded] == [*range(seeds)] and {c.lr for c, _ in bounded} == {0.01}
    assert best(space, tried) == Candidate(0.01, 10, "bounded" if wins else "published")
    longer = {c.variant for c, _ in tried if c.epochs == 20}
    assert longer == {"bounded" if wins else "published"}, "more epochs are tried of what stands"


def test_every_method_is_offered_a_bound_on_its_gradient(tmp_path, made):
    for method in _all_methods():
        one = search(tmp_path, made, method=method)
        own = [one.spec(Candidate(0.01, 10, name), "cells").clip for name in one.variants]
        assert own == [1.0] and (method == "last" or one.space.options == ("clip 1",))


@pytest.fixture
def made(monkeypatch):
    """The specs that were run; each reaches what the hill of its rate says, without training."""
    specs: list[RunSpec] = []
    monkeypatch.setattr(_run_log, "weights_digest", lambda backbone: "one")
    monkeypatch.setattr(_search, "weights_digest", lambda backbone: "one")
    return specs


def search(folder, made, until: float = math.inf, stop_after: int = 10**6, method: str = "last") -> Search:
    def run(spec: RunSpec) -> dict:
        if len(made) >= stop_after:
            raise KeyboardInterrupt
        made.append(spec)
        if spec.lr > 0.5:
            return {"val": None, "cpu": 1.0}
        return {"val": hill(0.03)(Candidate(spec.lr, spec.epochs), spec.seed) / 100, "cpu": 1.0}

    log = RunLog(folder / "s.journal.runs.jsonl")
    return Search(folder / "s.journal", log, method, "vit_micro", ("cells", "counting"), run, until)


def test_a_search_that_is_interrupted_again_and_again_repeats_no_run_and_finds_the_same(tmp_path, made):
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole = search(tmp_path / "whole", made, method="lora")
    said = list(whole.advance("rates"))
    wanted, entry = made.copy(), whole.entry("python")
    assert said and entry["values"]["lr"] == 0.03 and len({spec.key for spec in wanted}) == len(wanted)
    made.clear()
    for stop in range(3, len(wanted) + 6, 5):
        parts = search(tmp_path / "parts", made, stop_after=stop, method="lora")
        try:
            list(parts.advance("rates"))
        except KeyboardInterrupt:
            continue
    assert made == wanted and parts.entry("python") == entry
    states = {trial.state.name for trial in parts.study.get_trials()}
    assert "RUNNING" not in states and "FAIL" in states


def test_a_trial_whose_process_died_is_made_again(tmp_path, made):
    one = search(tmp_path, made, method="lora")
    one.study.ask(_search._DISTRIBUTIONS)
    list(one.advance("rates"))
    assert one.study.get_trials()[0].state.name == "FAIL" and one.entry("python")["values"]["lr"] == 0.03


def test_when_the_time_is_up_nothing_begins_and_two_processes_never_share_a_study(tmp_path, made):
    with pytest.raises(Stopped):
        list(search(tmp_path, made, until=0).advance("rates"))
    assert not made
    with search(tmp_path, made)._alone():
        assert list(search(tmp_path, made).advance("rates"))[0].endswith("another process is at it")
        with search(tmp_path, made, method="lora")._alone() as free:
            assert free


def test_other_weights_are_another_search(tmp_path, made, monkeypatch):
    list(search(tmp_path, made, method="linear").advance("rates"))
    first = len(made)
    for module in (_run_log, _search):
        monkeypatch.setattr(module, "weights_digest", lambda backbone: "other")
    again = search(tmp_path, made, method="linear")
    assert again.entry("python") is None
    list(again.advance("rates"))
    assert len(made) == 2 * first


@pytest.mark.parametrize("method", ["lora", "last"])
def test_a_new_study_goes_on_from_what_the_file_of_recipes_tells(tmp_path, made, monkeypatch, method):
    (tmp_path / "new").mkdir()
    first = search(tmp_path, made, method=method)
    list(first.advance("options"))
    entry = json.loads(json.dumps(first.entry("python")))
    monkeypatch.setattr(_search, "recorded", lambda: (entry,))
    made.clear()
    again = search(tmp_path / "new", made, method=method)
    list(again.advance("options"))
    assert not made and again.entry("python") == entry
    list(again.advance("epochs"))
    assert {spec.epochs for spec in made} == {2 * entry["values"]["epochs"]}
    more = [trial for trial in again.study.get_trials() if trial.params["epochs"] == made[0].epochs]
    assert [trial.state.name for trial in more[:3]] == ["COMPLETE"] * 3, "too few were seen after a task to stop one"


@pytest.mark.parametrize("change", [{"weights": "other"}, {"tasks": ["cells"]}])
def test_what_was_tried_with_other_weights_or_on_other_tasks_counts_for_nothing(tmp_path, made, monkeypatch, change):
    rows = [{"lr": lr, "epochs": 10, "seeds": [0, 1, 2], "val": 0.5} for lr in RATES]
    evidence = {"weights": "one", "tasks": ["cells", "counting"], "tried": rows} | change
    entry = {"method": "lora", "backbone": "vit_micro", "values": {"lr": 0.01, "epochs": 10}, "evidence": evidence}
    monkeypatch.setattr(_search, "recorded", lambda: (entry,))
    one = search(tmp_path, made, method="lora")
    assert not one.tried() and list(one.advance("rates"))


def test_what_the_search_no_longer_tries_is_passed_over(tmp_path, made):
    one = search(tmp_path, made)
    assert one._told({"lr": 0.01, "epochs": 20, "method": {"gap": 3}}) is None
    assert one._told({"lr": 0.02, "epochs": 20}) is None and one._told({"lr": 0.01, "epochs": 9, "clip": 1.0}) is None
    own = {"method": {"qk_norm": True}, "clip": 1.0}
    assert one._told({"lr": 0.01, "epochs": 20, "weight_decay": 0.05} | own).decay == "0.05"


def test_a_run_that_diverges_is_a_row_without_an_accuracy(monkeypatch):
    from peftcore.bench import _curve

    def diverge(*of: object) -> None:
        raise errors.Diverged("The loss became nan.")

    monkeypatch.setattr(_curve, "curve", diverge)
    row = recipes.measured(RunSpec(pretrained=False))
    assert row["val"] is None and row["why"] == "The loss became nan." and row["seconds"] >= 0


def test_the_entry_says_what_was_tried_and_its_values_make_a_spec(tmp_path, made):
    one = search(tmp_path, made)
    list(one.advance("rates"))
    entry = one.entry("python -m peftcore bench recipes")
    evidence = entry["evidence"]
    assert evidence["command"] == "python -m peftcore bench recipes" and evidence["on"] == "cells and counting"
    assert {row["lr"] for row in evidence["tried"]} >= {0.01, 0.03, 0.1} and evidence["weights"] == "one"
    chosen = next(row for row in evidence["tried"] if row["lr"] == entry["values"]["lr"])
    assert chosen["seeds"] == [0, 1, 2] and chosen["val"] == pytest.approx(0.601)
    assert {"qk_norm": True} in [row.get("method") for row in evidence["tried"]]
    assert all(spec.method.name == "last" and spec.cache_features == "disk" for spec in made)
    assert {spec.clip for spec in made} == {None, 1.0} and "of" not in evidence


def test_the_entry_names_the_tuner_that_was_searched(tmp_path, made):
    one = search(tmp_path, made, method="hf_peft")
    list(one.advance("rates"))
    entry = one.entry("")
    assert entry["evidence"]["of"] == "tuner lora" == f"tuner {made[0].method.tuner}"
    taken = [known["evidence"].get("of") for known in recipes.recipes.recorded() if known["method"] == "hf_peft"]
    assert taken == ["tuner lora"] * 2


def test_a_recipe_takes_the_place_of_the_one_before(tmp_path):
    path = tmp_path / "recipes.json"
    entries = [{"method": name, "backbone": where, "values": {"lr": 1}} for where in ("swin_micro", "vit_micro")
               for name in ("lora", "last")]  # fmt: skip
    recipes.write(entries, path)
    recipes.write([entries[0] | {"values": {"lr": 2}}], path)
    found = json.loads(path.read_text())
    assert [(e["backbone"], e["method"], e["values"]["lr"]) for e in found] == [
        ("vit_micro", "last", 1), ("vit_micro", "lora", 1), ("swin_micro", "last", 1), ("swin_micro", "lora", 2),
    ]  # fmt: skip


def test_the_tasks_of_the_search_are_one_of_each_group_and_the_first_methods_come_first():
    from peftcore.task import GROUPS, task_card

    assert sorted(task_card(name).group for name in recipes.TASKS) == sorted(GROUPS)
    assert recipes.order()[:5] == list(recipes.FIRST) and sorted(recipes.order()) == sorted(_all_methods())
    assert _candidates.SEEDS == (0, 1, 2)


def _all_methods() -> tuple[str, ...]:
    from peftcore.registry import METHODS

    return METHODS.names()
