"""How long runs take and when they begin: laws of the estimator, and queues whose answer is plain."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

import numpy as np
import pytest

from peftcore.engine import forecast
from peftcore.engine.forecast import Habits, Oracle, shared
from peftcore.engine.line import Line, Turn
from peftcore.engine.schedule import DRAWS, EXPECTED, begins
from peftcore.engine.told import Calibration, Told, Wait, missed
from peftcore.store import Store
from peftcore.store.durations import Estimate, Learnt, Took, groups, took

ROOT = Path(__file__).resolve().parents[2]
SPEC = {"backbone": "vit_micro", "method": {"name": "lora"}, "task": "digits", "batch_size": 64, "epochs": 4}


def run(seconds: float, rest: float = 5.0, **changes) -> Took:
    spec = SPEC | changes
    each = [(seconds - rest) / spec["epochs"]] * spec["epochs"]
    return took(spec, {"epochs": [{"seconds": s} for s in each], "seconds": seconds}, (0.0, 0.0))


def test_equal_runs_are_foretold_and_others_by_what_they_share():
    other = run(400.0, method={"name": "full"})
    learnt = Learnt([run(45.0), other, run(45.0), run(45.0)])
    assert Learnt([]).estimate(SPEC) is None
    same = learnt.estimate(SPEC)
    assert same.seconds == pytest.approx(45.0, rel=0.1)
    twice = learnt.estimate(SPEC | {"epochs": 8})
    assert twice.seconds == pytest.approx(85.0, rel=0.2) and twice.spread >= same.spread
    unknown = learnt.estimate(SPEC | {"method": {"name": "vpt"}})
    assert 45.0 < unknown.seconds < 400.0 and unknown.spread > twice.spread
    assert learnt.estimate(SPEC | {"backbone": "other"}).spread >= unknown.spread
    older = Learnt([run(90.0)] + [run(45.0)] * 3), Learnt([run(45.0)] * 3 + [run(90.0)])
    assert older[0].estimate(SPEC).seconds > older[1].estimate(SPEC).seconds, "the newest counts most"
    assert [chain[:3] for chain in groups(SPEC)[1:]] == [
        (("vit_micro",) + ("lora", "digits"))[:n] for n in (1, 2, 3, 3, 3)
    ]


def test_a_run_that_stood_still_is_not_what_runs_take():
    spans = (0.0, 45.0), (0.0, 60.0), (0.0, 9000.0)
    said = {"epochs": [{"seconds": 10.0}] * 4, "seconds": 45.0}
    assert [took(SPEC, said, (1.0, 1.0 + end)).seconds for _, end in spans] == pytest.approx([45.0, 60.0, 45.0])
    assert took(SPEC, {"epochs": [], "seconds": 3.0}, (0.0, 0.0)) is None


@pytest.mark.parametrize("taken, rest", [(0, 495), (10, 490), (100, 400)])
def test_a_resumed_run_takes_no_step_twice(tmp_path, taken, rest):
    """At a second a step, 1,000 of them, the first half taken hours ago; it began again a moment ago."""
    store, now = Store(tmp_path), time.time()
    run = store.create_run(SPEC)
    store.set_status(run, "running")
    began = now - max(5, taken)
    events = [("started", now - 7200, {"steps": 1000}), ("step", now - 6700, {"step": 500})]
    events += [
        ("started", began, {"steps": 1000}),
        *(("step", began + n, {"step": 500 + n}) for n in range(1, taken + 1)),
    ]
    for kind, at, data in events:
        seq = store.append(run, [{"kind": kind, **data}])
        with store.write() as db:
            db.execute("UPDATE events SET time = ? WHERE run = ? AND seq = ?", (at, run, seq))
    found = forecast.left(store, run, now - 7200, np.full(DRAWS, 1000.0), np.random.default_rng(0))
    assert np.median(found) == pytest.approx(rest, rel=0.05)


def test_turns_begin_when_slots_are_free():
    turns = [Turn((n,), "ann", n) for n in range(1, 5)]
    ten, left = np.full(DRAWS, 10.0), [np.full(DRAWS, 4.0), np.full(DRAWS, 7.0)]
    assert [begin[0] for begin in begins(turns, left, lambda turn: ten, 2)] == [4.0, 7.0, 14.0, 17.0]
    assert [begin[0] for begin in begins(turns, [], lambda turn: ten, 1)] == [0.0, 10.0, 20.0, 30.0]
    expected = Turn((EXPECTED,), "bob", 0.0)
    for comes, then in ((3.0, 14.0), (9.0, 4.0)):  # before the slot is free, and after
        found = begins([expected, turns[0]], left[:1], lambda turn: ten, 1, lambda comes=comes: np.full(DRAWS, comes))
        assert found[1][0] == then
    three = [Estimate(30.0, 0.2), Estimate(20.0, 0.2), Estimate(10.0, 0.2)]
    assert 30.0 < shared(three).seconds < 60.0 and shared(three).spread > 0.2 and shared(three[:1]).seconds == 30.0


def test_a_person_at_their_cap_waits_for_their_own_turn_and_others_pass():
    ann, bob = [Turn((n,), "ann", n) for n in range(1, 4)], Turn((4,), "bob", 4.0)
    lasts = lambda turn: np.full(DRAWS, 10.0)  # noqa: E731
    one_each = lambda most: begins([*ann, bob], [np.full(DRAWS, 4.0)], lasts, 3, None, ["ann"], most)  # noqa: E731
    assert [begin[0] for begin in one_each(lambda owner: None)] == [0.0, 0.0, 4.0, 10.0]
    assert [begin[0] for begin in one_each(lambda owner: 1)] == [4.0, 14.0, 24.0, 0.0]
    assert [begin[0] for begin in one_each(lambda owner: 2)] == [0.0, 4.0, 10.0, 0.0]
    assert [begin[0] for begin in one_each({"ann": 1, "bob": None}.get)] == [4.0, 14.0, 24.0, 0.0]


def test_habits_are_those_of_people_who_were_here_lately():
    history = [("ann", 0.0, 100.0), ("ann", 160.0, 200.0), ("bob", 0.0, 150.0), ("old", -9000.0, -8000.0)]
    habits = Habits(history, 300.0)
    assert habits.here == {"ann", "bob"} and list(habits.gaps) == [60.0]
    assert [turn.owner for turn in habits.expected(["bob"], ["zoe"], 300.0)] == ["ann", "zoe"]
    assert all(turn.runs[0] <= EXPECTED for turn in habits.expected([], [], 300.0))


def test_a_queue_in_a_store_is_foretold_for_each_person(tmp_path):
    store = Store(tmp_path)
    for _ in range(4):
        done = store.create_run(SPEC, owner="old")
        store.set_status(done, "running")
        store.append(done, [{"kind": "finished", "epochs": [{"seconds": 10.0}] * 4, "seconds": 45.0}])
        store.set_status(done, "finished")
    with store.write() as db:  # long ago: nobody is expected back
        db.execute("UPDATE runs SET queued = queued - 86400, started = started - 86400, finished = finished - 86400")
    at_work, *waiting = [store.create_run(SPEC, owner="ann") for _ in range(3)]
    store.set_status(at_work, "running")
    line, oracle = Line(store, lambda settings: None), Oracle(store)

    def look(owner: str):
        order = lambda more: line.order({"ann": 1}, (), more)  # noqa: E731
        return oracle.look(owner, order, [(at_work,)], 1)

    found = look("bob")
    first, second = (found.waits[run] for run in waiting)
    assert (first.place, second.place, second.of) == (1, 2, 2)
    assert first.low < first.middle < first.high and first.middle == pytest.approx(45.0, rel=0.3)
    assert second.middle == pytest.approx(90.0, rel=0.3)
    assert (found.new.place, found.new.of) == (1, 3) and found.new.middle == pytest.approx(first.middle, rel=0.2)
    assert look("ann").new.place == 3, "Ann has turns; Bob has had none"
    low, high = found.lasts(SPEC)
    assert found.lasts(SPEC | {"backbone": "swin_micro"}), "as small"
    assert found.lasts(SPEC | {"backbone": "vit_base_patch16_224"}) is None, "nobody knows"
    assert low < 45.0 < high and look("bob") is found, "all who look within a second see one forecast"

    order = lambda more: line.order({"ann": 1}, (), more)  # noqa: E731
    capped = oracle.look("bob", order, [(at_work,)], 2, lambda owner: 1 if owner == "ann" else None)
    assert capped.new.high == 0.0, "a slot is free, which Ann may not take"
    assert [capped.waits[run].middle for run in waiting] == pytest.approx([45.0, 90.0], rel=0.3)


def test_in_a_paused_room_nobody_is_told_a_wait(tmp_path):
    store = Store(tmp_path)
    mine, teachers = store.create_run(SPEC, owner="ann"), store.create_run(SPEC)
    line, oracle = Line(store, lambda settings: None), Oracle(store)

    def look(owner: str, paused: bool):
        order = lambda more: line.order({}, (), more)  # noqa: E731
        return oracle.look(owner, order, [], 1, lambda owner: 0 if paused and owner else None)

    paused = look("ann", True)
    assert paused.held == {mine, forecast.NEW} and paused.new is None and set(paused.waits) == {teachers}
    assert look("ann", False).held == frozenset() and set(look("ann", False).waits) == {mine, teachers}
    oracle.told.came([mine, teachers], 0.0)
    assert store.get_artifact(mine, "told") is None, "a slot was free for it"
    assert store.get_artifact(teachers, "told"), "said since the room goes on"


def test_spans_hold_four_of_five_whatever_the_model_gets_wrong(tmp_path):
    rng = np.random.default_rng(0)
    spans = [Wait(1, 1, 0.9 * middle, middle, 1.1 * middle) for middle in rng.uniform(50, 500, 600)]
    came = [one.middle * 1.3 * float(np.exp(0.4 * rng.standard_normal())) for one in spans]  # longer, and less sure
    inside = lambda one, true: one.low <= true <= one.high  # noqa: E731
    assert np.mean([inside(one, true) for one, true in zip(spans, came, strict=True)]) < 0.3
    learnt = Calibration(missed(one, true) for one, true in zip(spans[:100], came[:100], strict=True))
    held = np.mean([inside(learnt.of(one), true) for one, true in zip(spans[100:], came[100:], strict=True)])
    assert 0.72 < held < 0.9
    exact = Calibration([(-1.0, -1.0)] * 100).of(spans[0])
    assert (exact.low, exact.middle, exact.high) == pytest.approx((spans[0].low, spans[0].middle, spans[0].high))

    free = Wait(1, 1, 0.0, 0.0, 0.0)
    assert learnt.of(free) == free, "nothing is at work: it begins at once"

    store = Store(tmp_path)
    run, told = store.create_run(SPEC), Told(store)
    before = told.calibration().of(spans[0]).high
    for nth in range(12):
        told.say({run + nth: spans[0]}, 0.0)
        told.say({run + nth: spans[1]}, 99.0)  # the first that was said counts
        told.came([run + nth], 10 * spans[0].high)
        store.create_run(SPEC)
    assert told.calibration().of(spans[0]).high > 5 * before


def test_waits_of_twenty_people_are_foretold_within_30_percent_in_the_median(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    room = importlib.import_module("queue_forecast").room
    runs = [run(30.0), run(60.0, epochs=8), run(20.0, method={"name": "last"}), run(15.0, method={"name": "linear"})]
    found = np.array(room(runs, 20, 2, 1, 0, True))
    assert len(found) > 20 and np.median(np.abs(found[:, 2] - found[:, 0]) / found[:, 0]) < 0.3
