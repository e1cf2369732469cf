"""What one person in a room may queue, keep and ask of a run. The person at the machine, owner '', has no caps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from peftcore.errors import InvalidSetting
from peftcore.store import Store
from peftcore.uploads.limits import size

PREFIX = "HEADROOM_"
MOST = 10**9


@dataclass(frozen=True)
class Caps:
    """None: no cap. `Caps.here()` reads the environment: HEADROOM_WAITING and so on.

    waiting, waiting_all: runs that wait, of this person and of all. running: turns of this person that work at once.
    epochs, image_size, run_mb: of one run, the last one as its memory is predicted. kept_mb: adapters, checkpoints,
    predictions of this person's runs. images: that this person uploaded and keeps.
    """

    waiting: int | None = 32
    waiting_all: int | None = 256
    running: int | None = None
    epochs: int | None = None
    image_size: int | None = None
    run_mb: int | None = None
    kept_mb: int | None = None
    images: int | None = None

    @classmethod
    def here(cls) -> Caps:
        """Raises InvalidSetting: one is set to something that is not a whole number of at least 1."""
        said = {f.name: text for f in fields(cls) if (text := os.environ.get(variable(f.name)))}
        return cls(**{name: _number(variable(name), text) for name, text in said.items()})

    def queue(self, own: int, everybody: int, more: int) -> None:
        """Whether so many runs more may be queued, beside those that wait already.

        Raises:
            InvalidSetting: too many would wait.
        """
        for there, cap, whose, most in (
            (own, self.waiting, "Of your runs ", f"one visitor may have {self.waiting} waiting"),
            (everybody, self.waiting_all, "Of all runs ", f"{self.waiting_all} may wait in all"),
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

    def keep(self, there: int) -> None:
        """Whether somebody who keeps so many bytes may have another run. Raises InvalidSetting."""
        if self.kept_mb is not None and there > self.kept_mb * 10**6:
            raise InvalidSetting(
                f"Your runs keep {size(there)} of adapters and predictions, and {self.kept_mb:,} MB are allowed. "
                "Delete some of them for good, then launch again."
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

    def upload(self, there: int, more: int) -> None:
        """Whether somebody who keeps so many uploaded images may keep more. Raises InvalidSetting."""
        if self.images is not None and there + more > self.images:
            raise InvalidSetting(
                f"You keep {there:,} uploaded images, and this would add {more:,}: {self.images:,} are allowed. Remove "
                "a set of yours, or upload fewer."
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
        kept = 0
        if caps.kept_mb is not None:
            query = "SELECT sum(length(data)) FROM artifacts JOIN runs ON runs.id = artifacts.run WHERE owner = ?"
            kept = db.execute(query, (owner,)).fetchone()[0] or 0
    caps.queue(own, everybody, len(specs))
    caps.keep(kept)
    for settings in specs:
        caps.run(settings)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST):
        raise InvalidSetting(f"{name}={text} is not possible; it must be a whole number, 1 to {MOST:,}.")
    return int(text)
