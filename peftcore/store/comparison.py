"""Whether runs make different mistakes: where they disagree, what their vote is worth, and McNemar's test. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from peftcore import errors
from peftcore.store.results import Results, results, wilson


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of McNemar's test (1947): how likely is so uneven a split of the images that one of two
    runs alone gets right, if both were equally good? Binomial with share one half; 1 where there are none."""
    n, fewer = only_first + only_second, min(only_first, only_second)
    total, term = 0, 1
    for k in range(fewer + 1):
        total += term
        term = term * (n - k) // (k + 1)
    return min(1.0, 2 * total / 2**n)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Results of several runs on the same test images."""

    runs: tuple[Results, ...]

    @cached_property
    def predicted(self) -> np.ndarray:
        """(runs, n)"""
        return np.stack([one.predicted for one in self.runs])

    @cached_property
    def right(self) -> np.ndarray:
        """(runs, n)"""
        return self.predicted == self.labels

    @property
    def labels(self) -> np.ndarray:
        return self.runs[0].labels

    @cached_property
    def disagreement(self) -> np.ndarray:
        """(runs, runs), the share of images that two runs classify differently."""
        return np.array([[(a != b).mean() for b in self.predicted] for a in self.predicted])

    @cached_property
    def shared_mistakes(self) -> np.ndarray:
        """(runs, runs), of the images that either gets wrong, the share that both get wrong; 1 where neither errs."""
        wrong = ~self.right
        either = np.array([[(a | b).sum() for b in wrong] for a in wrong])
        both = np.array([[(a & b).sum() for b in wrong] for a in wrong])
        return np.where(either > 0, both / np.maximum(either, 1), 1.0)

    @cached_property
    def voted(self) -> np.ndarray:
        """(n,), the class that most runs predict; of classes with equally many votes, the one with the larger mean
        probability."""
        classes = len(self.runs[0].classes)
        votes = np.stack([(self.predicted == one).sum(0) for one in range(classes)], axis=1)  # (n, classes)
        mean = np.mean([one.probabilities for one in self.runs], axis=0)
        return (votes + mean / 2).argmax(1)  # a mean probability is at most 1, half of it less than a vote

    @property
    def vote(self) -> float:
        """The accuracy of the vote."""
        return float((self.voted == self.labels).mean())

    @property
    def vote_interval(self) -> tuple[float, float]:
        return wilson(self.vote, len(self.labels))

    @property
    def any_right(self) -> float:
        """The share of images that at least one run gets right: what a perfect choice among them would reach."""
        return float(self.right.any(0).mean())

    def pair(self, first: int, second: int) -> dict[str, Any]:
        """McNemar's test of two of the runs, by their places: both, only_first, only_second, neither (counts of images
        that they get right) and p."""
        a, b = self.right[first], self.right[second]
        counts = {"both": a & b, "only_first": a & ~b, "only_second": ~a & b, "neither": ~a & ~b}
        found = {name: int(which.sum()) for name, which in counts.items()}
        return {**found, "p": mcnemar(found["only_first"], found["only_second"])}

    @cached_property
    def parted(self) -> np.ndarray:
        """Numbers of the images that some runs get right and others wrong, the most even split first."""
        right = self.right.sum(0)
        even = np.minimum(right, len(self.runs) - right)
        order = np.argsort(-even, kind="stable")
        return order[even[order] > 0]

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        pairs = [
            {"first": self.runs[i].run, "second": self.runs[j].run, **self.pair(i, j)}
            for i, j in combinations(range(len(self.runs)), 2)
        ]
        return {
            "runs": [one.run for one in self.runs],
            "images": len(self.labels),
            "accuracy": [one.accuracy for one in self.runs],
            "disagreement": self.disagreement.tolist(),
            "vote": self.vote,
            "vote_interval": list(self.vote_interval),
            "any_right": self.any_right,
            "pairs": pairs,
            "parted": self.parted.tolist(),
        }


def comparison(runs: Sequence[Any]) -> Comparison:
    """Results of at least two runs, as `results` takes each, or as Results.

    Raises:
        InvalidSetting: fewer than two runs; BadData: they were not tested on the same images and classes; and what
        `results` raises.
    """
    if len(runs) < 2:
        raise errors.InvalidSetting(f"A comparison needs at least two runs, but got {len(runs)}.")
    found = tuple(one if isinstance(one, Results) else results(one) for one in runs)
    first = found[0]
    for other in found[1:]:
        if reason := unlike(first, other):
            raise errors.BadData(reason)
    return Comparison(found)


def unlike(first: Results, second: Results) -> str:
    """Why the answers of two runs cannot be compared image by image; '' where they can."""
    names = [f"run {one.run}" if one.run else "the other run" for one in (first, second)]
    if _images(first.task) != _images(second.task):
        what = f"{names[0]} was tested on {first.task}, {names[1]} on {second.task}"
    elif first.classes != second.classes:
        what = f"{names[0]} knows {len(first.classes)} classes and {names[1]} {len(second.classes)}, not all the same"
    elif not np.array_equal(first.labels, second.labels):
        what = f"{names[0]} and {names[1]} were tested on different images"
    else:
        return ""
    return f"Answers are compared image by image, but {what}."


# Settings in a task's name that choose its test images; others say how images are read, or which are trained on.
_DIVIDING = {"val", "test", "seed", "split", "skip"}
_CHOOSING = {
    "folder": _DIVIDING,
    "upload": _DIVIDING,
    "hf": {"test", "config", "image", "label"},
    "torchvision": {"test"},
}
_AS_ALWAYS = {("seed", "0"), ("skip", "no"), ("split", "given")}


def _images(task: str) -> tuple[str, set[tuple[str, str]]]:
    """What of a task's name says which images it tests on. Without a folder's given split they are drawn anew for each
    seed, in an order of classes that is the same."""
    name, _, query = task.partition("?")
    choosing = _CHOOSING.get(name.partition(":")[0], set())
    return name, {(key, value) for key, value in parse_qsl(query) if key in choosing} - _AS_ALWAYS
