"""Runs on a real local Ray: events in order, turns, memory, caps, cancelled, submitted by dying threads."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toys_on_ray import ENDLESS, ended, steps, until, working

from peftcore import errors
from peftcore.engine import job, sizes
from peftcore.engine.caps import Caps
from peftcore.engine.dispatch import MOST_PASSED

pytestmark = pytest.mark.usefixtures("patience")


def test_events_arrive_in_order_with_their_artifacts(engine):
    run = engine.submit({"steps": 200}, owner="ann", title="a toy")
    record = ended(engine, run)
    assert (record.status, record.error, record.owner, record.title) == ("finished", None, "ann", "a toy")
    assert record.summary["test_accuracy"] == 0.5 and record.attempts == 1
    assert steps(engine, run) == list(range(200))
    assert [e["kind"] for e in engine.store.events(run)][::201] == ["progress", "finished"]
    assert engine.store.get_artifact(run, "adapter") == b"weights"
    assert "blob" not in engine.store.last_event(run, "finished")


def test_a_slow_run_is_followed_while_it_works(engine):
    run = engine.submit(ENDLESS)
    worker = working(engine, run)
    if hasattr(os, "getpriority"):  # not so far back that other work starves it
        assert os.getpriority(os.PRIO_PROCESS, worker) - os.getpriority(os.PRIO_PROCESS, 0) == 5
    for _ in range(3):
        before = len(steps(engine, run))
        until(lambda before=before: len(steps(engine, run)) > before)
    engine.cancel(run)
    ended(engine, run)


def test_cancel_frees_the_slot_for_the_next_in_line(engine, tmp_path):
    first = engine.submit(ENDLESS | {"left": str(tmp_path / "left")})
    worker = working(engine, first)
    second, third = engine.submit(ENDLESS), engine.submit({"steps": 3})
    assert engine.queue() == [second, third]
    assert (engine.ahead(first), engine.ahead(second), engine.ahead(third)) == (0, 0, 1)
    assert engine.cancel(third) and ended(engine, third).status == "cancelled"  # one that waits
    assert engine.queue() == [second]
    assert engine.cancel(first)
    assert ended(engine, first).status == "cancelled"
    assert (tmp_path / "left").read_text() == "closed"  # it left through its own door
    assert working(engine, second) == worker  # the process stays, warm
    assert engine.cancel(second) and ended(engine, second).status == "cancelled"
    for run in (first, second, third):
        assert engine.store.events(run)[-1]["kind"] == "cancelled"
        assert not engine.cancel(run)
    assert steps(engine, third) == []


def test_each_person_has_a_turn_before_anybody_has_a_second_one(engine, gate):
    first = engine.submit({"steps": 3, "waits_at": 1, "gate": str(gate)}, owner="ann")
    working(engine, first)
    ann = [engine.submit({"steps": 1}, owner="ann") for _ in range(3)]
    bob = [engine.submit({"steps": 1}, owner="bob") for _ in range(2)]
    zoe = engine.submit({"steps": 1}, owner="zoe")
    expected = [bob[0], zoe, ann[0], bob[1], ann[1], ann[2]]
    assert engine.queue() == expected and engine.ahead(ann[1]) == 4
    gate.touch()
    assert all(ended(engine, run).status == "finished" for run in expected)
    assert sorted(expected, key=lambda run: engine.store.run(run).started) == expected


class Sized:
    """In the place of predictions: toys say themselves what they take."""

    def of(self, runs, settings):
        return {"peak": settings[0].get("bytes", 1)}


def test_a_run_begins_only_where_its_memory_is_and_is_passed_by_a_few_at_most(engine, gate, monkeypatch):
    import ray

    pool, all_of_it = engine._host.pool, engine._host.pool.memory
    monkeypatch.setattr(engine._dispatch, "sizes", Sized())
    never = engine.submit({"steps": 1, "bytes": all_of_it})
    assert ended(engine, never).status == "failed"
    assert all(word in engine.store.run(never).error for word in ("so it is not begun", "GB for runs", "smaller batch"))
    assert not engine.store.events(never), "it never reached Ray"

    @ray.remote(num_cpus=0, memory=all_of_it // 2)
    def hold(path):
        while not os.path.exists(path):
            time.sleep(0.02)

    held = hold.remote(str(gate))
    until(lambda: ray.available_resources()["memory"] <= all_of_it // 2 + 1)
    monkeypatch.setattr(pool, "slots", 3)
    large = engine.submit({"steps": 1, "bytes": int(all_of_it * 0.6)}, owner="large")
    small = [engine.submit({"steps": 1}, owner="small") for _ in range(MOST_PASSED + 2)]
    until(lambda: [engine.store.run(run).ended for run in small].count(True) == MOST_PASSED)
    time.sleep(0.3)
    assert engine.store.waiting() == [large, *small[-2:]], "it waits, and no more pass it"
    assert engine.queue()[0] == large
    gate.touch()
    assert [ended(engine, run).status for run in (large, *small)] == ["finished"] * (1 + len(small))
    assert engine.store.run(large).started <= engine.store.run(small[-1]).started
    ray.get(held)


def test_a_small_run_waits_for_no_large_ones_prediction_and_what_nobody_can_predict_is_not_begun(
    engine, gate, monkeypatch
):
    import ray

    @ray.remote(num_cpus=0)
    def predict(settings):
        while settings["backbone"] == "large" and not os.path.exists(str(gate)):
            time.sleep(0.02)
        return {"peak": 1}

    monkeypatch.setattr(sizes, "LONGEST", 600.0)
    monkeypatch.setattr(engine._dispatch, "sizes", sizes.Sizes(engine.store, predict.remote, engine._dispatch.soon))
    large = engine.submit({"steps": 1, "backbone": "large"}, owner="ann")
    small = engine.submit({"steps": 1, "backbone": "vit_micro"})
    assert ended(engine, small).status == "finished" and engine.queue() == [large]
    monkeypatch.setattr(sizes, "LONGEST", 0.0)
    assert ended(engine, large).status == "failed"
    assert "nobody knows whether it fits, so it is not begun" in engine.store.run(large).error
    assert not engine.store.events(large), "it never reached Ray"
    monkeypatch.setattr(sizes, "LONGEST", 600.0)
    gate.touch()
    engine.resume(large)
    assert ended(engine, large).status == "finished"
    assert engine.refusal({}, {}, "ann") is None
    monkeypatch.setattr(engine, "caps_of", lambda owner: Caps(run_mb=3))
    assert "cannot be predicted, and a run may take 3 MB here" in str(engine.refusal({}, {}, "ann"))


def test_a_prediction_is_dropped_with_its_run_and_made_again_where_its_process_was_killed(
    engine, gate, monkeypatch, tmp_path
):
    import ray

    @ray.remote(num_cpus=0, max_retries=0)
    def predict(settings):
        begun = tmp_path / settings["backbone"]
        while settings["backbone"] == "endless" and not os.path.exists(str(gate)):
            begun.touch()
            time.sleep(0.02)
        if settings["backbone"] == "killed" and not begun.exists():
            begun.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if settings["backbone"] == "wrong":
            raise ValueError("no such thing")
        return {"peak": 1}

    monkeypatch.setattr(engine._dispatch, "sizes", sizes.Sizes(engine.store, predict.remote, engine._dispatch.soon))
    endless = engine.submit({"steps": 1, "backbone": "endless"})
    until((tmp_path / "endless").exists)
    killed = engine.submit({"steps": 1, "backbone": "killed"})
    assert engine.cancel(endless)
    assert ended(engine, killed).status == "finished", "its lane was free at once, and another process predicted it"
    assert json.loads(engine.store.get_artifact(killed, sizes.ARTIFACT)) == {"peak": 1}
    wrong = engine.submit({"steps": 1, "backbone": "wrong"})
    assert ended(engine, wrong).status == "finished" and engine.store.get_artifact(wrong, sizes.ARTIFACT) is None


def test_a_turn_ends_after_the_minutes_of_its_owner_and_goes_on_when_resumed(engine, gate, monkeypatch):
    monkeypatch.setattr(job, "MINUTE", 0.05)
    monkeypatch.setenv("HEADROOM_MINUTES", "7")
    settings = {"steps": 2, "waits_at": 1, "gate": str(gate)}
    theirs, mine = engine.submit(settings, owner="ann"), engine.submit(settings)
    late = ended(engine, theirs)
    assert late.status == "interrupted" and "worked for 7 minutes" in late.error and "HEADROOM_MINUTES" in late.error
    working(engine, mine)
    time.sleep(14 * 0.05 + job.LOOK_UP_SECONDS)
    assert engine.store.run(mine).status == "running", "the person at the machine has no caps"
    gate.touch()
    engine.resume(theirs)
    assert {ended(engine, run).status for run in (mine, theirs)} == {"finished"}


def test_caps_of_a_person_hold_where_runs_are_queued(engine, gate, monkeypatch):
    monkeypatch.setenv("HEADROOM_EPOCHS", "5")
    monkeypatch.setenv("HEADROOM_WAITING", "2")
    monkeypatch.setenv("HEADROOM_RUN_MB", "3")
    first = engine.submit({"steps": 2, "waits_at": 1, "gate": str(gate)}, owner="ann")
    working(engine, first)
    with pytest.raises(errors.InvalidSetting, match="epochs = 6 .* at most 5"):
        engine.submit({"steps": 1, "epochs": 6}, owner="ann")
    race = engine.submit_race([{"steps": 1}] * 2, owner="ann")
    for more in (lambda: engine.submit({"steps": 1}, owner="ann"), lambda: engine.submit_race([{}] * 3, owner="bob")):
        with pytest.raises(errors.InvalidSetting, match="one visitor may have 2 waiting"):
            more()
    free = [engine.submit({"steps": 1, "epochs": 99}) for _ in range(3)]  # the person at the machine
    engine.cancel(race)
    with pytest.raises(errors.InvalidSetting, match="2 waiting"):
        engine.caps_of = lambda owner: Caps(waiting=2)
        engine.submit({"steps": 1}, owner="ann")
        engine.resume(race)
    engine.caps_of = lambda owner: Caps.here()
    monkeypatch.setattr(engine._dispatch, "sizes", Sized())
    too_large = engine.submit({"steps": 1, "bytes": 4_000_000}, owner="bob")
    monkeypatch.setenv("HEADROOM_KEPT_MB", "1")
    full = engine.submit({"steps": 1, "bytes": 1}, owner="cat")
    engine.store.put_artifact(full, "adapter", bytes(2_000_000))  # as runs do that waited beside it
    gate.touch()
    assert "keep 2 MB of adapters" in ended(engine, full).error, "queued while there was room"
    assert "a run may take 3 MB here (HEADROOM_RUN_MB)" in ended(engine, too_large).error
    assert {ended(engine, run).status for run in (first, race + 1, *free)} == {"finished"}


def test_a_run_that_does_not_listen_is_ended(engine, monkeypatch):
    monkeypatch.setattr(job, "GRACE_SECONDS", 1.0)
    run = engine.submit({"steps": 5, "deaf": True})
    working(engine, run)
    engine.cancel(run)
    assert ended(engine, run).status == "cancelled"


def test_errors_are_sentences(engine):
    ours = engine.submit({"steps": 5, "raises_at": 3, "raises": "ours"})
    other = engine.submit({"steps": 5, "raises_at": 3, "raises": "other"})
    record = ended(engine, ours)
    assert (record.status, record.error) == ("failed", "The loss is NaN at step 3; lower lr.")
    assert engine.store.last_event(ours, "failed")["error"] == "Diverged"
    assert steps(engine, ours) == [0, 1, 2] and engine.store.artifact_names(ours) == []
    record = ended(engine, other)
    assert record.status == "failed" and "unexpected KeyError: 'x'" in record.error
    assert "engine_toys.py" in engine.store.get_artifact(other, "traceback").decode()
    silent = engine.submit({"steps": 2, "silent": True})
    assert ended(engine, silent).error.startswith("The run ended without a result")


def test_a_run_outlives_the_thread_that_submitted_it(engine, gate):
    runs, toy = [], {"steps": 30, "waits_at": 10, "gate": str(gate)}
    thread = threading.Thread(target=lambda: runs.append(engine.submit(toy)))
    thread.start()
    thread.join()
    assert engine.store.run(runs[0]).status in ("queued", "running")
    gate.touch()
    assert ended(engine, runs[0]).status == "finished" and steps(engine, runs[0]) == list(range(30))


def test_another_process_may_ask_to_stop(engine):
    run = engine.submit(ENDLESS)
    working(engine, run)
    program = f"from peftcore.store import Store; print(Store({str(engine.store.folder)!r}).want_stop({run}))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "True"
    assert ended(engine, run).status == "cancelled"


def test_ray_answers_to_nobody_else(engine):
    import psutil
    import ray

    me = psutil.Process()
    open_to = [
        socket.laddr.ip
        for process in [me, *me.children(recursive=True)]
        for socket in process.net_connections("inet")
        if socket.status == "LISTEN"
    ]
    assert len(open_to) > 3 and set(open_to) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o077 == 0 and len(token.read_text()) == 64
    address = ray.get_runtime_context().gcs_address
    program = f"import ray; ray.init(address={address!r}, log_to_driver=False)"

    def knock(**settings):
        environment = os.environ | settings | {"RAY_NUM_REDIS_GET_RETRIES": "1"}  # one try is enough
        return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)

    for stranger in (knock(RAY_AUTH_MODE="disabled"), knock(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)):
        assert stranger.returncode != 0 and "uthenticat" in stranger.stderr
    assert knock().returncode == 0  # who can read the token is let in


def test_importing_the_engine_imports_neither_ray_nor_torch():
    program = "import sys, peftcore.engine; print({'ray', 'torch', 'streamlit'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"
