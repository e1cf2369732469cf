"""Every error that a user can meet, each a sentence: what was given, what is allowed, what to do.

The core raises these; only the app and the command line show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class HeadroomError(Exception):
    """Something that a user can mend; the message says how."""


class UnknownName(HeadroomError):
    """No method, task, backbone, field or score has this name."""


class InvalidSetting(HeadroomError):
    """A setting has the wrong type or lies outside its range."""


class DoesNotFit(HeadroomError):
    """This method cannot be attached to this backbone."""


class NeedsWeights(DoesNotFit):
    """This method reads the backbone's weights as it is attached, and there are none."""


class WeightsUnavailable(HeadroomError):
    """Pretrained weights are neither cached nor reachable, or the file given does not hold them."""


class DataUnavailable(HeadroomError):
    """A data set is neither on this machine nor can it be downloaded."""


class BadData(HeadroomError):
    """A task, an image or an archive cannot be read as one."""


class CannotMerge(HeadroomError):
    """The method has no equivalent plain timm module."""


class CannotExport(HeadroomError):
    """The method has no exact Hugging Face PEFT equivalent."""


class BadAdapter(HeadroomError):
    """A saved adapter is damaged, newer than this version, or not an adapter at all."""


class AdapterMismatch(HeadroomError):
    """A saved adapter belongs to another backbone or method."""


class NotMeasurable(HeadroomError):
    """A probe has nothing to measure on this model."""


class Diverged(HeadroomError):
    """The loss or a gradient became NaN or infinite."""


class OutOfMemory(HeadroomError):
    """The device has too little memory for this run."""


class NotYours(HeadroomError):
    """It belongs to somebody else in the room, or the teacher alone may do it."""


class StoreUnavailable(HeadroomError):
    """The folder of runs cannot be read or written."""


class EngineUnavailable(HeadroomError):
    """Runs cannot be started: Ray is missing, starting, or unreachable."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`; None where none is close."""
    return next(iter(get_close_matches(name, list(allowed), n=1, cutoff=0.5)), None)


def unknown(kind: str, name: str, allowed: Iterable[str], most: int = 20) -> UnknownName:
    """An UnknownName that suggests the nearest allowed name and lists them all, in the order given if it is a list."""
    allowed = list(allowed) if isinstance(allowed, Sequence) else sorted(allowed)
    near = nearest(name, allowed)
    hint = f"Did you mean {near!r}? " if near else ""
    listed = ", ".join(allowed[:most]) + (f" and {len(allowed) - most} more" if len(allowed) > most else "")
    return UnknownName(f"There is no {kind} {name!r}. {hint}There are: {listed or 'none'}.")
