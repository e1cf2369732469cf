"""Races on a real local Ray: variations with one forward share a process, and each may leave, fail or come back."""

import os
import signal

import pytest
from toys_on_ray import ENDLESS, ended, steps, until, working

from peftcore import errors

pytestmark = pytest.mark.usefixtures("patience")


def race(engine, *changes, **common):
    """A race of toys that share a forward; their numbers."""
    first = engine.submit_race([{"forward": "same"} | common | change for change in changes])
    return list(range(first, first + len(changes)))


def process(engine, run):
    return engine.store.last_event(run, "progress")["done"]


def together(engine, one, other):
    """Whether two runs took steps at once."""
    a, b = ([event["time"] for event in engine.store.events(run, kinds="step")] for run in (one, other))
    return max(a[0], b[0]) < min(a[-1], b[-1])


def test_variations_with_one_forward_work_in_one_process_each_with_its_own_events(engine):
    runs = race(engine, {"steps": 30}, {"steps": 60}, {"steps": 5, "forward": None}, pause=0.005)
    records = [ended(engine, run) for run in runs]
    assert [record.status for record in records] == ["finished"] * 3 and {r.race for r in records} == {runs[0]}
    assert [len(steps(engine, run)) for run in runs] == [30, 60, 5]
    for run in runs:
        assert steps(engine, run) == sorted(steps(engine, run))
        assert engine.store.get_artifact(run, "adapter") == b"weights" and engine.store.run(run).attempts == 1
    assert process(engine, runs[0]) == process(engine, runs[1])
    assert together(engine, *runs[:2])
    assert not together(engine, *runs[1:])  # the one that shares nothing waits for the slot
    assert records[0].finished < records[1].finished  # each ends when it ends


def test_one_variation_may_leave_and_come_back_alone(engine, tmp_path, gate):
    toy = {"steps": 200, "checkpoints": [20], "waits_at": 100, "gate": str(gate)}
    runs = race(engine, {"left": str(tmp_path / "left")}, {}, **toy)
    until(lambda: engine.store.last_event(runs[0], "checkpoint"))
    assert engine.cancel(runs[0])
    assert ended(engine, runs[0]).status == "cancelled"
    assert engine.store.run(runs[1]).status == "running"
    until(lambda: (tmp_path / "left").exists())  # it is really left out
    gate.touch()
    engine.resume(runs[0])
    for run in runs:
        assert ended(engine, run).status == "finished" and steps(engine, run) == list(range(200))
    import ray

    until(lambda: not ray.util.list_named_actors())  # the actor that told the process goes with its runs


def test_one_variation_may_fail_and_the_others_go_on(engine):
    runs = race(engine, {"raises_at": 3, "raises": "ours"}, {}, steps=20)
    assert ended(engine, runs[0]).error == "The loss is NaN at step 3; lower lr."
    assert ended(engine, runs[1]).status == "finished"
    runs = race(engine, {"raises_at": 3, "raises": "other"}, {}, {"steps": 1}, steps=20)  # this one ends them all
    assert ended(engine, runs[0]).status == ended(engine, runs[1]).status == "failed"
    assert ended(engine, runs[2]).status == "finished"  # but for the one that had ended
    assert "engine_toys.py" in engine.store.get_artifact(runs[1], "traceback").decode()


def test_a_race_is_stopped_as_a_whole(engine, tmp_path):
    runs = race(engine, {"left": str(tmp_path / "left")}, {}, {"forward": None}, **ENDLESS)
    worker = working(engine, runs[1])
    assert engine.cancel_race(runs[0])
    assert [ended(engine, run).status for run in runs] == ["cancelled"] * 3
    until(lambda: (tmp_path / "left").exists())
    until(lambda: all(engine.store.events(run)[-1]["kind"] == "cancelled" for run in runs))
    assert not engine.cancel_race(runs[0])
    after = engine.submit({"steps": 1})
    assert ended(engine, after).status == "finished" and process(engine, after) == worker


def test_a_race_whose_worker_was_killed_goes_on(engine, gate):
    toy = {"steps": 60, "pause": 0.01, "waits_at": 30, "gate": str(gate)}
    runs = race(engine, {"checkpoints": [10]}, {}, {}, {"steps": 2}, **toy)
    until(lambda: engine.store.last_event(runs[0], "checkpoint"))
    os.kill(working(engine, runs[0]), signal.SIGKILL)
    until(lambda: engine.store.run(runs[2]).attempts == 2)
    assert engine.store.run(runs[3]).status == "finished"
    gate.touch()
    for run in runs[:3]:
        assert ended(engine, run).status == "finished" and steps(engine, run) == list(range(60))
    assert len({process(engine, run) for run in runs[:3]}) == 1
    assert together(engine, *runs[:2]) and together(engine, *runs[1:3])  # one from its checkpoint, two anew


def test_a_race_of_a_dead_app_begins_together(engine):
    runs = engine.store.create_race([{"steps": 60, "pause": 0.01, "forward": "same"}] * 2, engine="dead")
    engine.recover()
    assert [ended(engine, run).status for run in runs] == ["finished"] * 2 and together(engine, *runs)


def test_an_empty_race_is_an_error(engine):
    with pytest.raises(errors.InvalidSetting, match="at least one"):
        engine.submit_race([])
