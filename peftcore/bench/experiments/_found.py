"""What was measured for an experiment, and the words in which numbers with a spread are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import mean
from typing import Any

Place = tuple[str, float | str]  # a group, and where on the x axis


class Found:
    """Numbers of an experiment in the unit of its y axis. rows: dicts with group, x, seed and value."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]):
        self._values: dict[Place, dict[int, float]] = {}
        for row in rows:
            self._values.setdefault((row["group"], row["x"]), {})[row["seed"]] = row["value"]

    def places(self, group: str | None = None) -> list[Place]:
        return [place for place in self._values if group in (None, place[0])]

    def mean(self, place: Place) -> float:
        return mean(self._values[place].values())

    def best(self, group: str | None = None) -> Place:
        return max(self.places(group), key=self.mean)

    def differences(self, first: Place, second: Place) -> list[float]:
        """By seed, how far `first` is above `second`."""
        one, other = self._values[first], self._values[second]
        return [one[seed] - other[seed] for seed in one if seed in other]

    def versus(self, first: Place, second: Place, names: tuple[str, str], unit: str = "points") -> str:
        """'A is ahead of B by 1.2 points (0.4 to 2.0 over 3 seeds)', or that the seeds do not agree on it.

        Both are compared seed by seed; they differ where every seed says so.
        """
        found = self.differences(first, second)
        low, high, middle = min(found), max(found), mean(found)
        seeds = f"over {len(found)} seeds" if len(found) > 1 else "with one seed"
        if low > 0 or high < 0:
            ahead, behind = names if middle > 0 else names[::-1]
            few, many = sorted((abs(low), abs(high)))
            spread = f"{few:.1f} to {many:.1f} {seeds}" if len(found) > 1 else seeds
            return f"{ahead} is ahead of {behind} by {abs(middle):.1f} {unit} ({spread})"
        return (
            f"{names[0]} and {names[1]} do not differ beyond the seeds: {_signed(middle)} {unit} "
            f"({_signed(low)} to {_signed(high)} {seeds})"
        )

    def along(self, group: str, default: float | str, words: str) -> str:
        """Which place on the x axis is best for a group, and how far ahead of `default` it is. `words`: 'rank {}'."""
        best = self.best(group)
        top = f"{words.format(best[1])} scores highest, {self.mean(best):.1f} %"
        if best[1] == default:
            other = max((place for place in self.places(group) if place != best), key=self.mean)
        else:
            other = (group, default)
        beside = self.versus(best, other, (words.format(best[1]), words.format(other[1])))
        return f"{_start(top)}. {_start(beside)}."


def _signed(number: float) -> str:
    return f"{number:+.1f}".replace("-", "\N{MINUS SIGN}")


def _start(text: str) -> str:
    return text[:1].upper() + text[1:]
