"""What one person in a room may queue, keep and ask of a run. The person at the machine, owner '', has no caps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from peftcore.errors import InvalidSetting
from peftcore.store import Store
from peftcore.uploads.limits import size

PREFIX = "HEADROOM_"
MOST = 10**9
# Of a room, where the environment says nothing. Fifty people who all fill their share take 25 GB and 100,000 files: a
# laptop has that free. 250 MB let in the largest upload, whose archive has at most 210 MB.
# 100 epochs are ten times what a run begins with, and more than any recorded recipe asks for. Of a large backbone they
# take hours all the same, so a turn has minutes as well: no run holds a place of the queue for a night.
IN_A_ROOM = {"epochs": 100, "minutes": 30, "kept_mb": 250, "images": 2_000}
FIRST = 2  # times the queue of all, up to which somebody without a waiting run may still queue one


@dataclass(frozen=True)
class Caps:
    """None: no cap. `Caps.here()` reads the environment: HEADROOM_WAITING and so on; `Caps.in_a_room()` does so too.

    waiting, waiting_all: runs that wait, of this person and of all. running: turns of this person that work at once.
    epochs, image_size, run_mb: of one run, the last one as its memory is predicted. minutes: that a turn works, after
    which it is interrupted and may be resumed. kept_mb: adapters, checkpoints, predictions of this person's runs, and
    as much again of uploaded images. images: uploaded, that this person keeps.
    """

    waiting: int | None = 32
    waiting_all: int | None = 256
    running: int | None = None
    epochs: int | None = None
    minutes: int | None = None
    image_size: int | None = None
    run_mb: int | None = None
    kept_mb: int | None = None
    images: int | None = None

    @classmethod
    def here(cls) -> Caps:
        """Raises InvalidSetting: one is set to something that is not a whole number of at least 1."""
        said = {f.name: text for f in fields(cls) if (text := os.environ.get(variable(f.name)))}
        return cls(**{name: _number(variable(name), text) for name, text in said.items()})

    @classmethod
    def in_a_room(cls) -> Caps:
        """With a room's own caps where the environment says nothing. Raises as `here`."""
        found = cls.here()
        return replace(found, **{n: most for n, most in IN_A_ROOM.items() if getattr(found, n) is None})

    def queue(self, own: int, everybody: int, more: int) -> None:
        """Whether so many runs more may be queued, beside those that wait already. Where others fill the queue of all,
        a person without a waiting run may still queue one.

        Raises:
            InvalidSetting: too many would wait.
        """
        everybodys = self.waiting_all
        if everybodys is not None and own == 0 and more == 1:
            everybodys *= FIRST
        for there, cap, whose, most in (
            (own, self.waiting, "Of your runs ", f"one visitor may have {self.waiting} waiting"),
            (everybody, everybodys, "Of all runs ", f"{everybodys} may wait in all"),
        ):
            if cap is not None and there + more > cap:
                raise InvalidSetting(
                    f"{whose}{there} wait already, and this would add {more}: {most} at a time. Launch again when some "
                    "have begun, or stop some of them."
                )

    def run(self, settings: Mapping[str, Any]) -> None:
        """Whether a run may have these settings. Raises InvalidSetting."""
        for name, what in (("epochs", "epochs"), ("image_size", "pixels")):
            cap, value = getattr(self, name), settings.get(name)
            if cap is not None and value is not None and value > cap:
                raise InvalidSetting(
                    f"{name} = {value} is more than a run may have here: {cap:,} {what}. Take at most {cap:,}, or ask "
                    f"whoever started Headroom to raise {variable(name)}."
                )

    def keep(self, there: int, more: int = 0) -> None:
        """Whether somebody whose runs keep so many bytes may have another one, which will keep `more`.

        Raises:
            InvalidSetting: they keep too much, or would.
        """
        if self.kept_mb is not None and there + more > self.kept_mb * 10**6:
            adds = f", this one would add {size(more)}" if more else ""
            raise InvalidSetting(
                f"Your runs keep {size(there)} of adapters and predictions{adds}, and {self.kept_mb:,} MB are allowed. "
                f"Delete some of them for good, then launch again, or ask whoever started Headroom to raise "
                f"{variable('kept_mb')}."
            )

    def memory(self, peak: int | None) -> InvalidSetting | None:
        """Why a run may not have a training step of so many bytes, None where nobody can predict them; None where it
        may."""
        if self.run_mb is None or (peak is not None and peak <= self.run_mb * 10**6):
            return None
        takes = "cannot be predicted" if peak is None else f"is predicted to take {size(peak)}"
        instead = "another backbone or task" if peak is None else "a smaller batch or a side method"
        return InvalidSetting(
            f"A training step {takes}, and a run may take {self.run_mb:,} MB here ({variable('run_mb')}), so it is not "
            f"begun. Take {instead}."
        )

    def upload(self, there: int, more: int, kept: int = 0, adds: int = 0) -> None:
        """Whether somebody who keeps so many uploaded images, of `kept` bytes, may keep more, of `adds` bytes.

        Raises:
            InvalidSetting: too many, or too large.
        """
        if self.images is not None and there + more > self.images:
            raise InvalidSetting(
                f"You keep {there:,} uploaded images, and this would add {more:,}: {self.images:,} are allowed. Remove "
                f"a set of yours, upload fewer, or ask whoever started Headroom to raise {variable('images')}."
            )
        if self.kept_mb is not None and kept + adds > self.kept_mb * 10**6:
            raise InvalidSetting(
                f"You keep {size(kept)} of uploaded images, and this would add {size(adds)}: {self.kept_mb:,} MB are "
                "allowed. Remove a set of yours, upload smaller images, or ask whoever started Headroom to raise "
                f"{variable('kept_mb')}."
            )


def variable(name: str) -> str:
    """The environment variable of a cap."""
    return PREFIX + name.upper()


def check(store: Store, caps: Caps, owner: str, specs: list[dict[str, Any]]) -> None:
    """Whether this person may queue runs with these settings.

    Raises:
        InvalidSetting: one of the caps says no.
    """
    with store.read() as db:
        query = "SELECT coalesce(sum(owner = ?), 0), count(*) FROM runs WHERE status = 'queued'"
        own, everybody = db.execute(query, (owner,)).fetchone()
    caps.queue(own, everybody, len(specs))
    check_kept(store, caps, owner)
    for settings in specs:
        caps.run(settings)


def check_kept(store: Store, caps: Caps, owner: str, more: int = 0) -> None:
    """Whether this person may keep `more` bytes: asked where runs are queued, and of each again before it begins, since
    those that waited beside it have kept something meanwhile. Raises InvalidSetting."""
    if caps.kept_mb is None:
        return
    with store.read() as db:
        query = "SELECT sum(length(data)) FROM artifacts JOIN runs ON runs.id = artifacts.run WHERE owner = ?"
        caps.keep(db.execute(query, (owner,)).fetchone()[0] or 0, more)


def cpus_per_run() -> int:
    """HEADROOM_CPUS_PER_RUN, or 0 where it says nothing. Raises InvalidSetting."""
    name = variable("cpus_per_run")
    text = os.environ.get(name, "")
    return _number(name, text) if text.strip("0 ") else 0


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST):
        raise InvalidSetting(f"{name}={text} is not possible; it must be a whole number, 1 to {MOST:,}.")
    return int(text)
