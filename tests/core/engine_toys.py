"""Runs that end in seconds and do without torch, for the engine's tests. Workers import them by name."""

import contextlib
import os
import time

from peftcore import errors, events


def _step(step, seconds=0.0):
    return events.Step(step, 0, loss=1 / (step + 1), lr=0.1, grad_norm=1.0, images_per_second=1.0, seconds=seconds)


def toy(settings, resume):
    """Counts to `steps`; other settings make something go wrong. At `waits_at` it waits for the file `gate`."""
    first = int(resume) if resume else 0
    try:
        yield events.Progress("process", os.getpid(), first)
        for step in range(first, settings["steps"]):
            while step == settings.get("waits_at") and not os.path.exists(settings["gate"]):
                time.sleep(0.01)
                yield events.Progress("process", os.getpid(), step)
            time.sleep(settings.get("pause", 0.0))
            yield _step(step)
            if step + 1 in settings.get("checkpoints", ()):
                yield events.Checkpoint(0, step, blob=str(step + 1).encode())
            if step + 1 == settings.get("dies_at") and not os.path.exists(settings["unless"]):
                os._exit(7)
            if step + 1 == settings.get("raises_at"):
                raise {"ours": errors.Diverged("The loss is NaN at step 3; lower lr."), "other": KeyError("x")}[
                    settings["raises"]
                ]
            while settings.get("deaf"):
                with contextlib.suppress(KeyboardInterrupt):
                    time.sleep(60)
        if "silent" not in settings:
            yield events.Finished(0.5, 0.25, 1.0, {"peak": 1}, [], blob=b"weights")
    finally:
        if "left" in settings:
            with open(settings["left"], "w") as file:
                file.write("closed")


def toy_race(settings, resume, left_out):
    """Toys that take turns in one process."""
    toys = {which: toy(one, resume[which]) for which, one in enumerate(settings)}
    while toys:
        for which in list(toys):
            if which in left_out():
                toys.pop(which).close()
                continue
            try:
                yield which, next(toys[which])
            except StopIteration:
                del toys[which]
            except errors.HeadroomError as error:
                yield which, events.Failed(type(error).__name__, str(error))
                del toys[which]
