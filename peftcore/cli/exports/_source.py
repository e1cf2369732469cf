"""What an export is made from: a run of the store, a saved adapter, or a model in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from peftcore import errors
from peftcore.spec import RunSpec
from peftcore.store.record import number_of
from peftcore.store.results import ARTIFACT, Results, results
from peftcore.store.runs import RunRecord, Store

ABOUT = "adapter.json"  # of a folder that Headroom saved; peftcore.adapters, which writes it, loads torch


class Source:
    """A trained model and whatever is known of how it came about; of a model in memory, perhaps the model alone.

    name: 'run-12', or the folder's name; files are named after it.
    settings: the RunSpec as a dict, None where it is not known.
    summary: test_accuracy, val_accuracy, seconds, memory and selected_epoch; empty where they are not known.
    """

    def __init__(
        self,
        name: str,
        settings: dict[str, Any] | None = None,
        *,
        model: Any = None,
        blob: bytes | None = None,
        folder: Path | None = None,
        record: RunRecord | None = None,
        store: Store | None = None,
        summary: dict[str, Any] | None = None,
        classes: list[str] | None = None,
    ):
        self.name, self.settings, self.record = re.sub(r"[^\w.-]+", "-", name) or "model", settings, record
        self.summary, self._classes = summary or {}, classes
        self._model, self._blob, self._folder, self._store = model, blob, folder, store

    @classmethod
    def of(cls, source: Any, store: Store | None = None) -> Source:
        """From a run's number (12, "12", "run-12") or RunRecord, the folder of a saved adapter, a Result of
        `pc.run`, or a TunedModel.

        Raises:
            UnknownName: there is no such run, nor such a folder.
            InvalidSetting: something else.
        """
        if isinstance(source, cls):
            return source
        if isinstance(source, RunRecord) or (isinstance(source, int) and not isinstance(source, bool)):
            return cls._of_run(source, store or Store())
        if isinstance(source, (str, Path)):
            path, text = Path(source), str(source)
            if (number := number_of(text)) is not None:
                return cls._of_run(number, store or Store())
            if path.exists():
                return cls._of_folder(path)
            raise errors.UnknownName(
                f"{text!r} is neither the number of a run nor the folder of a saved adapter; the page Runs shows the "
                "numbers, and `python -m peftcore run --save FOLDER` saves an adapter."
            )
        if hasattr(source, "test_accuracy") and hasattr(source, "model"):
            names = ("test_accuracy", "val_accuracy", "seconds", "memory", "selected_epoch")
            known = {name: getattr(source, name) for name in names}
            return cls(source.spec.method.name, source.spec.to_dict(), model=source.model, summary=known)
        if hasattr(source, "adapter_state"):
            return cls(source.method.name, model=source)
        raise errors.InvalidSetting(
            f"An export takes the number of a run, the folder of a saved adapter, a Result or a TunedModel; got "
            f"{type(source).__name__} {source!r:.80}."
        )

    @classmethod
    def _of_run(cls, run: int | RunRecord, store: Store) -> Source:
        record = store.run(run) if isinstance(run, int) else run
        return cls(f"run-{record.id}", record.spec, record=record, store=store, summary=record.summary)

    @classmethod
    def _of_folder(cls, path: Path) -> Source:
        folder = path if path.is_dir() else path.parent
        settings = classes = None
        if (about := folder / ABOUT).exists():
            try:
                told = json.loads(about.read_text())
                settings, classes = told.get("spec"), told.get("classes")
                if settings is not None and not isinstance(settings["method"]["name"], str):
                    raise TypeError("the method that it names is no text")
            except (OSError, ValueError, AttributeError, LookupError, TypeError, RecursionError) as error:
                raise errors.BadAdapter(f"{str(about)!r} cannot be read as a saved adapter: {error}.") from None
        return cls(folder.resolve().name, settings, folder=folder, classes=classes)

    def events(self, kinds: str | Iterable[str] | None = None) -> list[dict[str, Any]]:
        """The run's events, each with its 'seq' and 'time'; none where there is no run."""
        return self._store.events(self.record.id, kinds=kinds) if self._store and self.record else []

    @cached_property
    def started(self) -> dict[str, Any] | None:
        """The event that began the run: classes, sizes, settings."""
        return self._store.last_event(self.record.id, "started") if self._store and self.record else None

    @property
    def method(self) -> str:
        """The method's name; '' where it takes reading the model to know."""
        if self.settings:
            return str(self.settings["method"]["name"])
        return str(self._model.method.name) if self._model is not None else ""

    @property
    def spec(self) -> RunSpec:
        """Raises CannotExport where it is not known how the model was trained."""
        if self.settings is None:
            raise errors.CannotExport(self.no_spec or "")
        return RunSpec.of(self.settings)

    @property
    def no_spec(self) -> str | None:
        """Why the run cannot be made again: a sentence; None where it can."""
        if self.settings is not None:
            return None
        return (
            f"It is not known how {self.name} was trained; export a run by its number, or a folder that "
            "`peftcore run --save` wrote."
        )

    @property
    def no_events(self) -> str | None:
        """Why there is nothing to tell of its training: a sentence; None where there is."""
        if self.record is None:
            return f"{self.name} has no recorded steps; export a run of the store by its number."
        return None if self.started else f"Run {self.record.id} has not begun, so it has no steps yet."

    @property
    def no_model(self) -> str | None:
        """Why there is no trained model: a sentence; None where there is one. Reads no weights."""
        if self._folder is not None and self._model is None and not (self._folder / ABOUT).exists():
            return (
                f"{self.name} was trained elsewhere and does not hold its backbone; in Python, "
                "pc.export(pc.load_adapter(FOLDER, pc.load_backbone(NAME)), KIND) exports it."
            )
        if self._store is None or self.record is None or "adapter" in self._store.artifact_names(self.record.id):
            return None
        return (
            f"Run {self.record.id} is {self.record.status}, so there is no trained model of it; its weights are kept "
            "when it finishes."
        )

    @cached_property
    def model(self) -> Any:
        """The trained TunedModel in eval mode, on the CPU. Raises CannotExport where there is none."""
        from peftcore import adapters

        if self.no_model:
            raise errors.CannotExport(self.no_model)
        if self._model is not None:
            return self._model.eval()
        if self._folder is not None:
            return adapters.load_adapter(self._folder)
        assert self._store and self.record
        return adapters.from_bytes(self._store.get_artifact(self.record.id, "adapter") or b"")

    @property
    def answers(self) -> Results | None:
        """What the run answered on its test images; None where that was not kept."""
        if self._store and self.record and ARTIFACT in self._store.artifact_names(self.record.id):
            return results(self.record, self._store)
        return None

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes, where they are known."""
        return list(self.started["classes"]) if self.started else self._classes
