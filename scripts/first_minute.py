"""Where the first minute of a run goes: from submitting it to the first point of its curve, and to its end.

    python scripts/first_minute.py                                     # LAST on digits, by the engine, warm
    python scripts/first_minute.py --here --task position --epochs 20  # in this process: seconds of the CPU, by phase

With --here nothing but the run counts, so the seconds of the processor are told as well: on a machine that does other
work they say more than the clock.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from peftcore.spec import RunSpec  # noqa: E402
from peftcore.store import Store, recipes  # noqa: E402

PAGE_SECONDS = 1.0  # between two looks of the Runs page: on average half of it comes on top


def by_engine(spec: RunSpec) -> Iterator[tuple[str, float]]:
    """Seconds since the click at which each kind of event stood in the store for the first time."""
    from peftcore.engine import Engine

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        engine = Engine(store).start()
        engine.wait_ready()
        warm = engine.submit(spec.replace(epochs=1, seed=spec.seed + 1))  # what the reader did a minute ago
        while not store.run(warm).ended:
            time.sleep(0.05)
        began, run, seen, after = time.time(), engine.submit(spec), set[str](), 0
        while not store.run(run).ended or store.events(run, after=after):
            for event in store.events(run, after=after):
                after = event["seq"]
                if event["kind"] not in seen:
                    seen.add(event["kind"])
                    yield event["kind"], event["time"] - began
            time.sleep(0.02)
        engine.shutdown()


def here(spec: RunSpec) -> Iterator[tuple[str, float]]:
    """Seconds of this process's CPU since the run began, at the first event of each kind and after each epoch.

    Imports are over before, as they are in a warm worker.
    """
    from peftcore.train.loop import finetune

    for first in finetune(spec.replace(epochs=1, batch_size=8, method="linear", pretrained=False)):
        if first.kind == "step":
            break
    began, seen = time.process_time(), set[str]()
    event: Any
    for event in finetune(spec):
        name = f"{event.kind} {event.epoch}" if event.kind == "evaluation" else event.kind
        if event.kind == "evaluation" and event.split == "test":
            name = "evaluation of the test images"
        if event.kind == "progress":
            name = event.what
        if name not in seen:
            seen.add(name)
            yield name, time.process_time() - began
    yield f"test accuracy {event.test_accuracy:.3f}", time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--here", action="store_true", help="in this process, in seconds of the CPU")
    for name in ("backbone", "method", "task"):
        parser.add_argument(f"--{name}", default=RunSpec.model_fields[name].default)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    spec = recipes.with_recipe(RunSpec(backbone=options.backbone, method=options.method, task=options.task))
    spec = spec.replace(epochs=options.epochs) if options.epochs else spec
    print(f"{spec.method.title} on {spec.task}, {spec.epochs} epochs, rate {spec.lr:g}; {os.cpu_count()} CPUs, load "
          f"{os.getloadavg()[0]:.1f}; {'seconds of the CPU' if options.here else 'seconds'}")  # fmt: skip
    before = 0.0
    for what, seconds in (here if options.here else by_engine)(spec):
        print(f"{seconds:7.2f}  +{seconds - before:5.2f}  {what}", flush=True)
        before = seconds
    if not options.here:
        print(f"The page looks every {PAGE_SECONDS:g} s: a point is seen up to that much later.")


if __name__ == "__main__":
    main()
