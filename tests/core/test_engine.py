"""Runs on a real local Ray: events in order, cancelled, killed, submitted by dying threads, resumed by the next app."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from peftcore import errors
from peftcore.engine import Engine, cluster, host, job, sizes
from peftcore.engine.caps import Caps
from peftcore.engine.dispatch import MOST_PASSED
from peftcore.engine.lease import Lease
from peftcore.store import Store, custody

HERE = Path(__file__).parent
TOY = "engine_toys:toy"
RACE = {"race": "engine_toys:toy_race", "forward": lambda settings: settings.get("forward")}
ENDLESS = {"steps": 10_000, "pause": 0.01}
PATIENCE = 60  # seconds after which something that has to happen is said not to


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One Ray with room for one run at a time, whose workers find the toys."""
    before = {name: os.environ.pop(name, None) for name in ("RAY_ADDRESS", "PYTHONPATH")}
    os.environ["PYTHONPATH"] = str(HERE)
    engine = Engine(Store(tmp_path_factory.mktemp("home")), num_cpus=1, function=TOY, **RACE).start()
    early = engine.submit({"steps": 2})
    assert engine.state == "starting" and engine.store.run(early).status == "queued"
    assert engine.wait_ready(90), engine.state
    assert engine.state == "ready" and engine.slots == 1
    assert os.environ["PYTHONPATH"] == str(HERE)  # what children needed is taken back
    assert ended(engine, early).status == "finished"  # submitted before Ray was there
    yield engine
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    engine.shutdown()


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """However busy the machine is, a run that responds has time to stop on its own."""
    monkeypatch.setattr(job, "GRACE_SECONDS", 60.0)


@pytest.fixture
def gate(tmp_path):
    """Runs that wait for it keep working until it exists."""
    return tmp_path / "gate"


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def ended(engine, run):
    until(lambda: engine.store.run(run).ended)
    return engine.store.run(run)


def working(engine, run):
    """Waits for the first event; returns the process that works on the run."""
    until(lambda: engine.store.events(run))
    assert engine.store.run(run).status == "running"
    return engine.store.events(run)[0]["done"]


def steps(engine, run):
    return [event["step"] for event in engine.store.events(run, kinds="step")]


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


def test_a_run_whose_worker_dies_each_time_is_given_up_with_the_reason_and_the_next_one_works(engine, tmp_path):
    run = engine.submit({"steps": 9, "pause": 0.1, "dies_at": 4, "unless": str(tmp_path / "mended")})
    after = engine.submit({"steps": 3})
    record = ended(engine, run)
    assert record.status == "failed" and record.attempts == 3
    assert "crashed after step 3" in record.error and "in 3 tries. Resume it" in record.error
    assert engine.store.events(run)[-1]["kind"] == "failed"
    assert ended(engine, after).status == "finished"
    engine.resume(run)  # a person's word is no attempt
    assert ended(engine, run).attempts == 6
    (tmp_path / "mended").touch()
    engine.resume(run)
    assert ended(engine, run).status == "finished" and steps(engine, run) == list(range(9))


def test_a_run_whose_worker_was_killed_goes_on(engine, gate):
    run = engine.submit({"steps": 60, "checkpoints": [10, 20], "waits_at": 30, "gate": str(gate)})
    worker = working(engine, run)
    until(lambda: len(engine.store.events(run, kinds="checkpoint")) == 2)
    with pytest.raises(errors.InvalidSetting, match="is running"):
        engine.resume(run)
    gate.touch()
    os.kill(worker, signal.SIGKILL)
    record = ended(engine, run)
    assert (record.status, record.error) == ("finished", None)
    assert steps(engine, run) == list(range(60))  # nothing twice, nothing missing
    assert "failed" not in {e["kind"] for e in engine.store.events(run)}
    assert engine.store.artifact_names(run) == ["adapter"]
    with pytest.raises(errors.InvalidSetting, match="is finished"):
        engine.resume(run)


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


def test_recover_takes_what_the_dead_left_and_nothing_of_the_living(engine, tmp_path):
    store = engine.store
    neighbour = Lease(store.folder / "engines")
    with_checkpoint, without, too_often, queued, unwanted = (
        store.create_run({"steps": 8}, engine="dead") for _ in range(5)
    )
    living = store.create_run({"steps": 8}, engine=neighbour.id)
    for run in (with_checkpoint, without, too_often, living):
        store.set_status(run, "running")
        store.append(run, [{"kind": "progress", "done": 0}, {"kind": "step", "step": 0}, {"kind": "step", "step": 1}])
    for run in (with_checkpoint, too_often):
        store.append(run, [{"kind": "checkpoint"}], {"checkpoint": b"2"})
        store.append(run, [{"kind": "step", "step": 99}])  # sent after the checkpoint, so it will be sent again
    for _ in range(2):
        assert custody.lost(store, too_often, "dead", "dead") and store.set_status(too_often, "running")
    store.want_stop(unwanted)
    engine.recover()
    assert store.run(living).status == "running"
    assert ended(engine, with_checkpoint).status == "finished"
    assert steps(engine, with_checkpoint) == list(range(8))
    assert ended(engine, queued).status == "finished" and steps(engine, queued) == list(range(8))
    assert store.run(unwanted).status == "cancelled"
    assert ended(engine, without).status == "finished" and steps(engine, without) == list(range(8))
    assert store.run(too_often).status == "interrupted" and "Resume it" in store.run(too_often).error
    engine.resume(too_often)
    assert ended(engine, too_often).status == "finished" and steps(engine, too_often) == list(range(8))
    assert store.run(living).status == "running"
    for path in (store.folder / "engines").iterdir():  # somebody clears up: the living stay alive
        path.unlink()
    neighbour.keep()
    engine.recover()
    assert store.run(living).status == "running" and Lease.held(store.folder / "engines", neighbour.id)
    neighbour.release()  # nobody calls recover: the engine looks for itself
    assert ended(engine, living).status == "finished" and steps(engine, living) == list(range(8))


def test_an_app_that_was_killed_is_continued_by_the_next(engine, tmp_path, gate):
    """End to end: another app on another store, killed with its Ray in the middle of a run."""
    program = f"""if True:
        import time
        from peftcore.engine import Engine
        from peftcore.store import Store
        engine = Engine(Store({str(tmp_path)!r}), num_cpus=1, function={TOY!r}).start()
        print(engine.submit({{"steps": 40, "checkpoints": [5], "waits_at": 20, "gate": {str(gate)!r}}}), flush=True)
        engine.submit({{"steps": 3}})
        time.sleep(600)
    """
    app = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    run = int(app.stdout.readline())
    store = Store(tmp_path)
    until(lambda: store.last_event(run, "checkpoint"))
    worker = store.events(run)[0]["done"]
    app.kill()
    app.wait()
    until(lambda: not Path(f"/proc/{worker}").exists())  # its workers do not outlive it
    assert store.run(run).status == "running"
    gate.touch()
    heir = Engine(store, function=TOY, **RACE).start()  # on the Ray of this process
    assert heir.wait_ready(90)
    assert ended(heir, run).status == "finished" and steps(heir, run) == list(range(40))
    assert store.get_artifact(run, "adapter") == b"weights"
    assert ended(heir, run + 1).status == "finished"
    heir.shutdown()
    assert engine.state == "ready" and ended(engine, engine.submit({"steps": 1})).status == "finished"


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


def test_without_ray_runs_fail_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    engine = Engine(Store(tmp_path), function=TOY)
    run = engine.submit({"steps": 1})
    engine.start()
    assert not engine.wait_ready(90) and engine.state.startswith("failed: Runs need Ray")
    assert "pip install ray" in ended(engine, run).error
    engine.shutdown()


def test_a_cluster_answers_or_is_gone():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert cluster.answers(address)
    assert not cluster.answers(address)


def test_where_ray_does_not_start_runs_wait_for_the_next_try(tmp_path, monkeypatch):
    tries = []

    def start(*_):
        tries.append(run is not None and engine.store.run(run).status)
        raise errors.EngineUnavailable("busy") if len(tries) < 3 else cluster.NotInstalled("gone")

    monkeypatch.setattr(cluster, "start", start)
    monkeypatch.setattr(host, "AGAIN_SECONDS", 0.0)
    engine = Engine(Store(tmp_path), function=TOY)
    run = engine.submit({"steps": 1})
    engine.start()
    assert "gone" in ended(engine, run).error and tries == ["queued"] * 3
    engine.shutdown()


def test_ray_itself_may_die_and_comes_back_and_leaves_nothing_behind(engine, gate):
    """Last in this file, since the Ray of the others is gone afterwards."""
    import psutil

    run, after = engine.submit({"steps": 40, "waits_at": 20, "gate": str(gate)}), engine.submit({"steps": 3})

    def of_ray(process):  # whatever other tests in this process have started is none of this one's business
        with contextlib.suppress(psutil.Error):
            return "ray" in " ".join([process.name(), *process.cmdline()])

    def lives(process):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may go between the two questions
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE

    def gone(processes):
        return not any(lives(one) for one in processes)

    for server in ("raylet", "gcs_server"):
        until(lambda: engine.store.run(run).status == "running" and engine.store.events(run))
        children = [child for child in psutil.Process().children(recursive=True) if of_ray(child)]
        next(child for child in children if child.name() == server and child.ppid() == os.getpid()).kill()
        until(lambda children=children: gone(children))
        until(lambda: engine.state == "ready")
    gate.touch()
    record = ended(engine, run)
    assert record.status == "finished" and steps(engine, run) == list(range(40))
    assert ended(engine, after).status == "finished"


def test_on_a_cluster_an_error_about_data_names_its_machine(monkeypatch):
    import ray

    from peftcore.engine import worker

    missing, other = errors.BadData("There is no folder /x."), errors.DoesNotFit("It does not fit.")
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    for alive, named in (([True], False), ([True, False], False), ([True, True], True)):
        monkeypatch.setattr(ray, "nodes", lambda alive=alive: [{"Alive": one} for one in alive])
        said = worker._failed(missing)[0].message
        assert said.startswith(str(missing)) and (socket.gethostname() in said) == named
        assert worker._failed(other)[0].message == str(other)
