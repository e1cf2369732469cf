"""A Ray cluster of two nodes on this machine, started as docs/hosting.md says; runs on both; one node is killed.

python -m tests.chaos.cluster
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from peftcore.engine import Engine
from peftcore.store import Store
from tests.chaos.app import ROOT
from tests.chaos.toy import specs

PORT = 6390
PATIENCE = 300.0  # seconds
NAME = "tests.chaos.toy"


def node(*words: str) -> subprocess.Popen:
    """`ray start`, which stays in front so that it and its raylet end together."""
    command = [str(Path(sys.executable).with_name("ray")), "start", *words, "--num-cpus=1", "--block"]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=os.environ | quiet, stdout=subprocess.DEVNULL, start_new_session=True)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("It did not happen in time.")
        time.sleep(0.1)


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="headroom-cluster-"))
    head = node("--head", f"--port={PORT}", "--include-dashboard=false")
    nodes = [head]
    try:
        engine = Engine(Store(home), address=f"127.0.0.1:{PORT}", cpus_per_run=1, function=f"{NAME}:run").start()
        until(lambda: engine.state == "ready")
        nodes.append(node(f"--address=127.0.0.1:{PORT}"))
        until(lambda: engine.slots == 2)  # the engine sees that the cluster has grown
        one = specs()["long"][0]
        runs = [engine.submit(one | {"steps": 1000, "every": 100}) for _ in range(2)]

        def where(run: int) -> str:
            event = engine.store.last_event(run, "progress")
            return event["what"] if event else ""

        until(lambda: all(where(run) for run in runs))
        placed = {run: where(run) for run in runs}
        print(f"{len(set(placed.values()))} nodes work on {len(runs)} runs; one is killed", flush=True)
        os.killpg(nodes[1].pid, signal.SIGKILL)
        until(lambda: all(engine.store.run(run).ended for run in runs))
        for run in runs:
            record = engine.store.run(run)
            moved = "on another node" if where(run) != placed[run] else "where it was"
            print(f"run {run}: {record.status} after {record.attempts} attempts, {moved}; {record.error or 'no error'}")
        same = engine.store.get_artifact(runs[0], "adapter") == engine.store.get_artifact(runs[1], "adapter")
        print(f"weights equal to the bit: {same}")
        engine.shutdown()
    finally:
        for one_node in nodes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one_node.pid, signal.SIGKILL)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
