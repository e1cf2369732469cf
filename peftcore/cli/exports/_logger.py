"""What exports to other projects' loggers share: whether the logger is installed, and the curves as it takes them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from peftcore.cli.exports._source import Source
from peftcore.cli.exports.events import scalars

PROJECT = "headroom"  # what a run belongs to in a logger
ENDS_WITH = ("test_accuracy", "val_accuracy")  # of the summary


def needs(package: str) -> Callable[[Source], str | None]:
    """The `why_not` of an export that a package writes."""

    def why_not(source: Source) -> str | None:
        if find_spec(package) is None:
            return f"Not installed: {package}. Install with: pip install {package}"
        return source.no_events

    return why_not


def by_step(source: Source) -> list[tuple[int, dict[str, float]]]:
    """All that was measured at each step, by tag, in order."""
    found: dict[int, dict[str, float]] = {}
    for tag, step, value, _ in scalars(source):
        found.setdefault(step, {})[tag] = value
    return sorted(found.items())


def ending(source: Source) -> dict[str, Any]:
    """The accuracies with which the run ended, as far as it has."""
    return {name: source.summary[name] for name in ENDS_WITH if name in source.summary}
