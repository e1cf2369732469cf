"""Store and engine as one person in a room has them: each verb asks whether they may.

What a class here does not name is refused, so a verb that is added to the store or the engine is refused as well until
somebody has decided who may use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from peftcore import errors
from peftcore.engine import Engine
from peftcore.engine.engine import settings_of
from peftcore.engine.forecast import Forecast
from peftcore.engine.room.rights import Rights
from peftcore.store import RunRecord, Store
from peftcore.store.results import ARTIFACT

TEST = "test_accuracy"  # of a summary and of the event that ends a run
MEASURED = "measured/"  # artifacts that Headroom itself finds of a run, for whoever asks first
LOCAL = "{} is done by the library and the command line on the machine itself, by nobody in the room."


class StoreAs(Store):
    """The store as somebody in a room has it: what they may look at, and their own to change."""

    def __init__(self, store: Store, rights: Rights):
        self.folder, self.rights = store.folder, rights
        self._db = store._db
        self.read = store.read  # for lists, which take `seen` with them
        self.write = self.close = refusal_of("write")  # raises whatever it is given

    def seen(self) -> tuple[str, list[Any]]:
        owners = self.rights.seen()
        return ("1", []) if owners is None else (f"owner IN ({','.join('?' * len(owners))})", list(owners))

    def record(self, row: Sequence[Any]) -> RunRecord:
        """Without what a challenge keeps from this person."""
        found = super().record(row)
        if TEST not in found.summary or not self.rights.sealed(found):
            return found
        return replace(found, summary={name: value for name, value in found.summary.items() if name != TEST})

    def _record(self, run: int) -> RunRecord:
        return Store.run(self, run)

    def _open(self, run: int, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Events without what a challenge keeps from this person."""
        if not self.rights.seals() or not self.rights.sealed(self._record(run)):
            return events
        return [
            {name: value for name, value in event.items() if name != TEST} for event in events
            if event.get("split") != "test"
        ]  # fmt: skip

    def _hides(self, run: int, artifact: str) -> bool:
        return artifact == ARTIFACT and self.rights.seals() and self.rights.sealed(self._record(run))

    def _look(self, run: int) -> None:
        if self.rights.seen() is not None:
            self.rights.look(f"Run {run}", self._record(run).owner)

    def _change(self, runs: Iterable[int]) -> None:
        for run in runs:
            self.rights.change(f"Run {run}", self._record(run).owner)

    # Looking

    def run(self, run: int) -> RunRecord:
        record = super().run(run)
        self.rights.look(f"Run {run}", record.owner)
        return record

    def runs(self, *args: Any, **kwargs: Any) -> list[RunRecord]:
        return super().runs(*args, **kwargs)

    def waiting(self) -> list[int]:
        return super().waiting()

    def events(self, run: int, after: int = 0, kinds: str | Iterable[str] | None = None) -> list[dict[str, Any]]:
        self._look(run)
        return self._open(run, super().events(run, after, kinds))

    def last_event(self, run: int, kind: str) -> dict[str, Any] | None:
        self._look(run)
        found = super().last_event(run, kind)
        return next(iter(self._open(run, [found])), None) if found else None

    def get_artifact(self, run: int, name: str) -> bytes | None:
        self._look(run)
        return None if self._hides(run, name) else super().get_artifact(run, name)

    def artifact_names(self, run: int) -> list[str]:
        self._look(run)
        return [name for name in super().artifact_names(run) if not self._hides(run, name)]

    def artifact_sizes(self, name: str) -> dict[int, int]:
        return super().artifact_sizes(name)

    # Changing

    def put_artifact(self, run: int, name: str, data: bytes) -> None:
        if self._hides(run, name):
            raise errors.NotYours(
                "What runs of the challenge answer on test images is shown when the teacher reveals it."
            )
        is_found = name.startswith(MEASURED) or (name == ARTIFACT and name not in self.artifact_names(run))
        if is_found:
            self._look(run)
        else:
            self._change([run])
        super().put_artifact(run, name, data)

    def delete_artifact(self, run: int, name: str) -> None:
        self._change([run])
        super().delete_artifact(run, name)

    def put_marks(self, runs: Iterable[int], values: Mapping[str, Any], only_ended: bool = False) -> None:
        chosen = list(runs)
        self._change(chosen)
        super().put_marks(chosen, values, only_ended)

    def want_stop(self, run: int) -> bool:
        self._change([run])
        return super().want_stop(run)

    def delete_run(self, run: int) -> None:
        self._change([run])
        super().delete_run(run)


class EngineAs:
    """The engine as somebody in a room has it: what they launch is theirs, and they stop and resume their own.

    `store`: theirs. What is read, such as the queue and how long it takes, is the engine's own.
    """

    READ = ("state", "slots", "queue", "ahead", "wait_ready", "address", "runs_per_gpu", "cpus_per_run")

    def __init__(self, engine: Engine, store: StoreAs):
        self._engine, self.store, self.rights = engine, store, store.rights

    def __getattr__(self, name: str) -> Any:
        if name in self.READ:
            return getattr(self._engine, name)
        if name.startswith("_"):
            raise AttributeError(name)
        if not hasattr(self._engine, name):
            raise AttributeError(f"the engine has no {name}")
        return refusal_of(name)

    def submit(self, spec: Any, owner: str = "", title: str = "", predicted: Mapping[str, int] | None = None) -> int:
        """As the engine's; the run is this person's. Raises NotYours, InvalidSetting: see Rights.launch."""
        self.rights.launch(settings_of(spec))
        return self._engine.submit(spec, owner=self._owner(owner), title=title, predicted=predicted)

    def submit_race(self, specs: Iterable[Any], owner: str = "", title: str = "") -> int:
        """The same of a race."""
        chosen = list(specs)
        for spec in chosen:
            self.rights.launch(settings_of(spec))
        return self._engine.submit_race(chosen, owner=self._owner(owner), title=title)

    def wake(self) -> None:
        self.rights.teach("lets the queue go on")
        self._engine.wake()

    def forecast(self, owner: str = "") -> Forecast:
        """As the engine's, of a run that this person would queue."""
        return self._engine.forecast(self._owner(owner))

    def refusal(
        self, settings: Mapping[str, Any], predicted: Mapping[str, int], owner: str = ""
    ) -> errors.HeadroomError | None:
        """As the engine's, of a run of this person."""
        return self._engine.refusal(settings, predicted, self._owner(owner))

    def cancel(self, run: int) -> bool:
        self.store._change([run])
        return self._engine.cancel(run)

    def cancel_race(self, race: int) -> bool:
        self.store._change(self._race(race))
        return self._engine.cancel_race(race)

    def resume(self, run: int) -> None:
        self.store._change([run])
        self.rights.launch(self.store._record(run).spec)
        self._engine.resume(run)

    def resume_race(self, race: int) -> None:
        runs = self._race(race)
        self.store._change(runs)
        for run in runs:
            self.rights.launch(self.store._record(run).spec)
        self._engine.resume_race(race)

    def _race(self, race: int) -> list[int]:
        return [record.id for record in self._engine.store.runs(race=race)] or [race]

    def _owner(self, owner: str) -> str:
        me = self.rights.person
        if owner and owner != me.name:
            raise errors.NotYours(f"You launch as {me.name} and not as {owner}.")
        return me.name


def refusal_of(name: str) -> Any:
    def refused(*_: Any, **__: Any) -> Any:
        raise errors.NotYours(LOCAL.format(name))

    return refused


for _name in {name for name in vars(Store) if not name.startswith("_")} - set(vars(StoreAs)):
    setattr(StoreAs, _name, refusal_of(_name))
