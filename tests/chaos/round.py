"""One round: an app, or two, on a fresh home; runs; troubles at random moments; and what became of the runs."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peftcore import errors
from peftcore.spec import RunSpec
from peftcore.store import Store, custody
from tests.chaos import toy, troubles
from tests.chaos.app import App, wrong_clock

PATIENCE = 300.0  # seconds for runs to end once they are left in peace
ORPHANS_SECONDS = 75.0  # Ray's agents wait a minute for a GCS that was killed
DISK = "160m"
AT_WORK = 0.8  # share of the troubles that wait for a run to work
TOYS = "toys"  # in place of a task
MODES = {"one": 6, "two": 2, "clock": 1}  # by how often they are drawn
PREDICTED = 100_000_000  # bytes of a run, roughly


def specs(task: str) -> dict[str, list[dict[str, Any]]]:
    """By name, runs that begin together: alone, or as a race. One writes no checkpoint."""
    base = RunSpec(task=task, batch_size=16, device="cpu")
    many = [
        {"last": [base.replace(method={"name": "last", "rank": 4}, epochs=8)]},
        {"lora": [base.replace(method={"name": "lora", "rank": 4}, epochs=3, batch_size=8)]},
        {"one epoch": [base.replace(method={"name": "lora", "rank": 2}, epochs=1, batch_size=2)]},
        {"race": [base.replace(method="linear", epochs=40, seed=1, lr=lr) for lr in (1e-3, 1e-2)]},
    ]
    return {name: [spec.to_dict() for spec in those] for one in many for name, those in one.items()}


class Round:
    """Args:
    task: of the runs; TOYS for toys.
    say: takes what is to be logged.
    """

    def __init__(self, task: str, rng: random.Random, say: Callable[[dict], None], mode: str = "one"):
        toys = task == TOYS
        self.rng, self.say, self.specs = rng, say, toy.specs() if toys else specs(task)
        self.folder = Path(tempfile.mkdtemp(prefix="headroom-chaos-"))
        self.home = self.folder / "home"
        self.home.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(self.home)]
        self.mounted = shutil.which("mount") is not None and not subprocess.run(mount, capture_output=True).returncode
        self.clock = wrong_clock(self.folder) if mode == "clock" else None
        count = 2 if mode == "two" else 1
        self.apps = [App(self.home, self.folder / f"app{i}.log", self.clock, toys) for i in range(count)]
        self.store = Store(self.home)
        self.runs: dict[int, str] = {}  # which kind of run, by number
        self.clicks: dict[int, int] = {}

    def app(self) -> App:
        return self.rng.choice(self.apps)

    def wait(self, seconds: float) -> None:
        """Looks meanwhile at what the apps start."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for one in self.apps:
                one.tree()
            time.sleep(min(0.5, left))

    def submit(self) -> None:
        """Runs of every kind, as another process queues them; whichever app sees them first takes them."""
        for name, those in self.specs.items():
            runs = self.store.create_race(those) if len(those) > 1 else [self.store.create_run(those[0])]
            self.runs |= {run: f"{name} {i}" for i, run in enumerate(runs)}
            for run in runs:  # as Launch does; else each waits for a prediction in a process of its own
                self.store.put_artifact(run, "predicted", json.dumps({"peak": PREDICTED}).encode())

    def hurt(self, kills: int, only: Sequence[str] = ()) -> None:
        """Starts the apps and the runs, and does `kills` troubles to them, of the kinds that `only` names, if any."""
        for one in self.apps:
            one.start()
        self.submit()
        kinds = troubles.KINDS | ({troubles.clock: 6} if self.clock else {})
        if only:
            kinds = {kind: often for kind, often in kinds.items() if kind.__name__ in only}
        for _ in range(kills):
            if self.rng.random() < AT_WORK:
                end = time.monotonic() + troubles.LONGEST_START
                while time.monotonic() < end and not self.store.runs(status="running"):
                    self.wait(0.5)
            self.wait(self.rng.uniform(0, 6))
            if all(record.ended for record in self.store.runs()):
                self.submit()
            self.hurt_once(self.rng.choices(list(kinds), list(kinds.values()))[0])

    def hurt_once(self, kind: Callable[[Round], str]) -> None:
        states = [record.status for record in self.store.runs(status=("queued", "running"))]
        hit = kind(self)
        for one in self.apps:
            if not one.alive:  # it did not survive the end of its Ray, or of its disk
                self.say({"kind": "died", "after": kind.__name__, "log": one.log.read_text(errors="replace")[-600:]})
                one.start()
        self.say({"kind": kind.__name__, "hit": hit, "working": states.count("running"), "waiting": len(states)})

    def settle(self) -> list[dict[str, Any]]:
        """Waits for all runs, and clicks once on those that stopped; returns what became of each."""
        first = self._ended()
        for run, (status, _) in first.items():
            if status in ("failed", "interrupted") and custody.resume(self.store, run, "", status):
                self.clicks[run] = 1
        last = self._ended() if self.clicks else first
        said = []
        for run, name in self.runs.items():
            blob = self.store.get_artifact(run, "adapter") if last[run][0] == "finished" else None
            digest = hashlib.sha256(blob).hexdigest()[:16] if blob else None
            said.append({"run": run, "name": name, "end": first[run], "after a click": last[run] if run in self.clicks
                         else None, "attempts": self.store.run(run).attempts, "weights": digest})  # fmt: skip
        return said

    def _ended(self) -> dict[int, tuple[str, str | None]]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and not all(self.store.run(run).ended for run in self.runs):
            self.wait(0.5)
            for one in self.apps:
                if not one.alive:
                    self.say({"kind": "died", "after": "peace", "log": one.log.read_text(errors="replace")[-600:]})
                    one.start()
        return {run: (record.status, record.error) for run in self.runs for record in [self.store.run(run)]}

    def integrity(self) -> str:
        with self.store.read() as db:
            return db.execute("PRAGMA integrity_check").fetchone()[0]

    def end(self, keep: bool = False) -> dict[str, Any]:
        """Kills the apps and says what they leave behind."""
        began = time.monotonic()
        for one in self.apps:
            one.kill()
        while (
            left := [name for one in self.apps for name in one.left()]
        ) and time.monotonic() < began + ORPHANS_SECONDS:
            time.sleep(0.2)
        seconds = round(time.monotonic() - began, 1)
        for process in [process for one in self.apps for process in one.seen]:
            troubles._hit(process)
        self.store.close()
        if self.mounted:
            subprocess.run(["umount", "-l", self.home], check=False)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        return {"orphans": left, "gone_after": seconds, "kept": str(self.folder) if keep else ""}


def pictures(folder: Path) -> str:
    """A small task: three kinds of pictures, drawn from a seed."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for kind in range(3):
        (folder / f"kind{kind}").mkdir(parents=True, exist_ok=True)
        for i in range(30):
            pixels = rng.integers(0, 120, (32, 32, 3))
            pixels[:, kind::3] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"kind{kind}" / f"{i}.png")
    return f"folder:{folder}"


def weights(task: str, say: Callable[[dict], None]) -> dict[str, str]:
    """What undisturbed runs end with: hashes of their adapters, by the names of the runs."""
    calm = Round(task, random.Random(0), say)
    try:
        calm.apps[0].start()
        calm.submit()
        found = {one["name"]: one["weights"] for one in calm.settle()}
    finally:
        calm.end()
    if None in found.values():
        raise errors.EngineUnavailable(f"An undisturbed run did not finish: {found}.")
    return found
