"""How certain an accuracy is, and the level of chance: a share of a number of images, and what guessing gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peftcore.store.results import wilson

LEAST = 0.12  # of the way from chance to the best, which accuracies must span to be told apart beside chance


def share(chance: float) -> str:
    """'0.50', '0.062', '0.0025': what guessing gets, two digits of it."""
    return f"{chance:.2f}" if chance >= 0.1 else f"{chance:.2g}"


def level(chance: float | None, accuracies: Sequence[float], low: float, high: float) -> tuple[float | None, str]:
    """Where to draw chance on an axis of these accuracies, whose bars reach from `low` to `high`, and the axis's title.
    None where several lie so far above it that they would fall into one mark: the title names it then."""
    if chance is None or len(accuracies) == 1 or high - low >= LEAST * (high - chance):
        return chance, "accuracy"
    return None, f"accuracy (chance {share(chance)})"


@dataclass(frozen=True)
class Ground:
    """What an accuracy is based on: the number of images (None in older records), and the accuracy of chance."""

    images: int | None
    chance: float
    classes: int

    @classmethod
    def of(cls, started: Mapping[str, Any], split: str) -> Ground:
        """Of one split ("val", "test"), from the event that starts a run. Chance is the share of the largest class,
        which a constant answer reaches; in older records, one over the number of classes."""
        classes = len(started["classes"])
        images, largest = started.get("settings", {}).get("images", {}).get(split, (None, None))
        return cls(images or None, largest / images if images else 1 / max(1, classes), classes)

    def interval(self, accuracy: float) -> tuple[float, float] | None:
        """95 %; None where the number of images is not known."""
        return wilson(accuracy, self.images) if self.images else None

    def text(self, accuracy: float) -> str:
        """'0.84 to 0.88', the 95 % interval; '' where it is not known."""
        bounds = self.interval(accuracy)
        return f"{bounds[0]:.2f} to {bounds[1]:.2f}" if bounds else ""

    def read(self, accuracy: float) -> str:
        """'0.861 (0.84 to 0.88)', an accuracy with its 95 % interval, where that is known."""
        sure = self.text(accuracy)
        return f"{accuracy:.3f} ({sure})" if sure else f"{accuracy:.3f}"

    def at_chance(self, accuracy: float) -> bool:
        """Whether the accuracy is indistinguishable from chance, or below it."""
        bounds = self.interval(accuracy)
        return (bounds[0] if bounds else accuracy / 1.05) <= self.chance

    def stayed(self, accuracy: float) -> str:
        """'Stayed at chance: 0.100 of 10 classes'."""
        even = self.chance <= 1.05 / self.classes
        what = f"of {self.classes} classes" if even else f"where the largest class has {self.chance:.3f}"
        return f"Stayed at chance: {accuracy:.3f} {what}"


def apart(first: float, second: float, on: Ground, other: Ground) -> bool | None:
    """Whether two accuracies differ by more than their 95 % intervals; None where these are not known."""
    one, two = on.interval(first), other.interval(second)
    if one is None or two is None:
        return None
    low, high = sorted((one, two))
    return low[1] < high[0]
