"""Workers, apps and Ray itself die: runs go on, are given up with the reason, or wait for the next try."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from toys_on_ray import RACE, TOY, ended, steps, until, working

from peftcore import errors
from peftcore.engine import Engine, cluster, host
from peftcore.engine.lease import Lease
from peftcore.store import Store, custody

pytestmark = pytest.mark.usefixtures("patience")


def test_a_run_whose_worker_dies_each_time_is_given_up_with_the_reason_and_the_next_one_works(engine, tmp_path):
    run = engine.submit({"steps": 9, "pause": 0.1, "dies_at": 4, "unless": str(tmp_path / "mended")})
    after = engine.submit({"steps": 3})
    record = ended(engine, run)
    assert record.status == "failed" and record.attempts == 3
    assert "crashed after step 3" in record.error and "in 3 tries. Resume it" in record.error
    until(lambda: engine.store.events(run)[-1]["kind"] == "failed")
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
