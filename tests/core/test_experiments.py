"""Experiments: grids of possible specs, answers that follow the numbers, and nothing measured twice."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from peftcore import errors
from peftcore.bench import experiments
from peftcore.bench.experiments import Cell, Experiment, _command, _known, _make, experiment, names, tuned
from peftcore.bench.experiments._found import Found
from peftcore.figures.experiments import outcome
from peftcore.figures.method_style import method_colour
from peftcore.home import home
from peftcore.registry import Registry
from peftcore.store import Store, recipes
from peftcore.task import load_task

ALL = [experiment(name) for name in names()]
RECORDS = _known.FOLDER
MOST = 32  # runs that a visitor of the app may have waiting


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path))
    monkeypatch.setattr(_known, "FOLDER", tmp_path / "recorded")


def rows(of: Experiment, number) -> list[dict]:
    return [
        {"group": cell.group, "x": cell.x, "seed": seed, "value": number(cell, seed)} for cell, seed, _ in of.points()
    ]


@pytest.mark.parametrize("of", ALL, ids=lambda of: of.name)
def test_the_grid_is_possible_and_the_answer_follows_the_numbers(of):
    points = list(of.points())
    places = [(cell.group, cell.x, seed) for cell, seed, _ in points]
    assert len(set(places)) == len(places) and len({spec.key for *_, spec in points}) <= MOST
    assert of.title.endswith("?") and of.asks and of.x and of.y
    numbers = random.Random(0)
    answers = {of.answer(Found(rows(of, lambda *_: numbers.uniform(1, 90)))) for _ in range(2)}
    assert len(answers) == 2 and all(one.endswith(".") and "nan" not in one for one in answers)


def test_an_experiment_may_ask_about_any_method(tmp_path, monkeypatch):
    source = (Path(experiments.__file__).parent / "serial_rank.py").read_text()
    (tmp_path / "of_adapter.py").write_text(source.replace('paper="serial_lora"', 'paper="adapter"'))
    registry, before = Registry("bench.experiments", "experiment"), experiments.names()
    monkeypatch.setattr(experiments, "EXPERIMENTS", registry)
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__])
    registry.add_folder(tmp_path)
    assert experiments.names() == [*before, "of_adapter"] and experiments.papers()[-1] == "adapter"


def test_a_difference_is_one_that_every_seed_shows():
    def found(*ours):
        both = {"a": ours, "b": (50.0, 52.0)}
        return Found({"group": g, "x": 1, "seed": s, "value": v} for g, vs in both.items() for s, v in enumerate(vs))

    both = (("a", 1), ("b", 1), ("A", "B"))
    assert found(51.0, 55.0).versus(*both) == "A is ahead of B by 2.0 points (1.0 to 3.0 over 2 seeds)"
    assert found(49.0, 48.0).versus(*both) == "B is ahead of A by 2.5 points (1.0 to 4.0 over 2 seeds)"
    assert found(51.0, 51.0).versus(*both).startswith("A and B do not differ beyond the seeds: +0.0")


def toy(**more) -> Experiment:
    def cells():
        for rank in (2, 4):
            yield Cell("LoRA", rank, tuned("lora", rank=rank))

    return Experiment(
        title="Which rank?", paper="lora", asks="", x="rank", y="test accuracy (%)", cells=cells,
        answer=lambda found: found.along("LoRA", 4, "rank {}"), name="toy", **more,
    )  # fmt: skip


def test_what_is_finished_is_never_made_again(monkeypatch):
    made = []

    def measured(measure, spec):
        made.append(spec)
        return {"test": 0.5 + spec.method.rank / 100 + spec.seed / 1000, "cpu": 1.0}

    monkeypatch.setattr(_make, "measured", measured)
    of, for_ever = toy(), time.monotonic() + 1e6
    steps = _make.make(of, None, for_ever)
    assert next(steps)[:2] == (1, 4)
    steps.close()  # interrupted
    assert not list(_make.make(of, None, time.monotonic() - 1)), "the time is up"
    assert [done for done, *_ in _make.make(of, None, for_ever)] == [2, 3, 4]
    assert len(made) == 4 == len({spec.key for spec in made}) and not list(_make.make(of, None, for_ever))
    at = _known.standing(of)
    assert not at.missing and at.seeds == 2 and at.answer.startswith("Rank 4 scores highest, 54.0 %")
    assert _known.expected_seconds([spec for *_, spec in of.points()]) == pytest.approx(4.0)

    assert _make.write_record(of, None, "python -m peftcore experiment toy --record")
    (home() / "experiments" / "accuracy.jsonl").unlink()
    assert _known.standing(of).rows == at.rows, "the record knows the same"
    monkeypatch.setattr(recipes, "weights_digest", lambda backbone: "of other weights")
    later = _known.standing(of)
    assert later.old and later.rows == at.rows and len(later.missing) == 4


def test_seeds_that_are_not_whole_do_not_answer(monkeypatch):
    monkeypatch.setattr(_make, "measured", lambda measure, spec: {"test": None if spec.seed else 0.5, "cpu": 1.0})
    of = toy()
    steps = _make.make(of, None, time.monotonic() + 1e6)
    next(steps)
    assert not _known.standing(of).answer
    list(steps)
    at = _known.standing(of)
    assert at.failed == 2 and at.seeds == 1 and at.answer and not at.missing


def test_numbers_of_different_seeds_are_not_compared(monkeypatch):
    """One seed is easy; where each cell lacks another one, the means are of different seeds."""
    value = {(2, 0): 0.5, (2, 1): None, (4, 0): None, (4, 1): 0.9}
    monkeypatch.setattr(
        _make, "measured", lambda measure, spec: {"test": value[spec.method.rank, spec.seed], "cpu": 1.0}
    )
    list(_make.make(toy(), None, time.monotonic() + 1e6))
    at = _known.standing(toy())
    assert at.failed == 2 and len(at.rows) == 2 and not at.answer


def test_finished_runs_of_the_store_count_with_their_weights():
    store, of = Store(), toy(seeds=(0,))
    specs = [spec for *_, spec in of.points()]
    digest = recipes.weights_digest("vit_micro")
    for spec, sha in zip(specs, (digest, "of other weights"), strict=True):
        run = store.create_run(spec.to_dict())
        store.append(run, [{"kind": "started", "settings": {"weights": {"sha256": sha}}}])
        store.set_status(run, "finished", summary={"test_accuracy": 0.6, "seconds": 3.0})
    at = _known.standing(of, store)
    assert [spec.key for spec in at.missing] == [specs[1].key] and at.rows[0]["value"] == pytest.approx(60)


def test_every_record_is_of_an_experiment_and_answers_it(monkeypatch):
    monkeypatch.setattr(_known, "FOLDER", RECORDS)
    for file in RECORDS.glob("*.json"):
        at = _known.standing(experiment(file.stem))
        assert at.answer and at.rows, f"run python -m peftcore experiment {file.stem} --record"
        assert at.experiment.measure == _known.record(file.stem)["measure"] and file.stat().st_size < 200_000


def test_the_command_lists_and_shows(capsys):
    _command.command(json=True)
    _command.command(["last_memory"], minutes=0)
    said = capsys.readouterr().out
    assert all(f'"{name}"' in said for name in names()) and "0 of 12" in said
    with pytest.raises(errors.UnknownName, match="last_memory"):
        _command.command(["last_memry"], minutes=0)


def test_few_images_of_an_embedded_task():
    whole, four, one = (load_task(name) for name in ("position", "few:position?shots=4", "few:position?shots=1"))
    assert (four.train.labels.tolist().count(3), len(four.train)) == (4, 64) and four.test is whole.test
    pixels = {image.tobytes() for image in four.train.images}
    assert {image.tobytes() for image in one.train.images} < pixels, "fewer are among more"
    assert pixels < {image.tobytes() for image in whole.train.images}
    other = load_task("few:position?shots=4&seed=1")
    assert {image.tobytes() for image in other.train.images} != pixels
    for wrong in ("few:position?shots=4000", "few:positon", "few:"):
        with pytest.raises(errors.HeadroomError, match="position|few:TASK"):
            load_task(wrong)


def test_each_name_on_the_axis_has_its_room():
    rows = [
        dict(group="LAST", x=name, seed=0, value=1.0, method="last") for name in ("vit_micro", "vit_small_patch16_224")
    ]
    axis = outcome(rows, title="A finding", x="backbone", y="time").layout.xaxis
    assert tuple(axis.ticktext) == ("vit_micro", "vit_small_<br>patch16_224") and tuple(axis.range) == (-0.5, 1.5)
    assert axis.ticklabeloverflow == "allow" and max(axis.autotickangles) == 0


def test_every_group_of_one_method_has_a_look_of_its_own():
    """In the colour of its method, which means the same in every figure."""
    rows = [dict(group=f"rank {n}", x=1, seed=0, value=1.0, method="lora") for n in range(40)]
    rows.append(dict(group="LAST", x=1, seed=0, value=1.0, method="last"))
    *marks, last = (trace.marker for trace in outcome(rows, title="A finding", x="epochs", y="time").data)
    assert {mark.color for mark in marks} == {method_colour("lora")} and last.color == method_colour("last")
    assert len({mark.symbol for mark in marks}) == 40
