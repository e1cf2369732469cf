"""What is run on weights of one's own, and in which order: any beginning is whole for what it covers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from peftcore.bench._candidates import RATES
from peftcore.bench._run_log import Row, RunLog
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store.recipes import best

SEEDS = (0, 1, 2)
MASKS = 10  # random ones for each number of heads off, spread over the seeds
EVERYWHERE = ("q", "k", "v", "proj")


@dataclass(frozen=True)
class Entry:
    """A line of the table. settings: of the method; more: fields of RunSpec beside them."""

    title: str
    settings: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def is_side(self) -> bool:
        return METHODS.facts(self.settings["name"]).kind == "side"


HEART = Entry("Heart-LoRA, no head off", {"name": "heart_lora", "n_off": 0})  # from which heads are taken off
ENTRIES = (
    Entry("Linear probe", {"name": "linear"}),
    Entry("LAST", {"name": "last"}),
    Entry("LAST, q and k normalised, clip 1", {"name": "last", "qk_norm": True}, {"clip": 1.0}),
    Entry("LoRA on q and v", {"name": "lora", "projections": ("q", "v")}),
    Entry("Serial LoRA", {"name": "serial_lora"}),
    Entry("LoRA on all four projections", {"name": "lora", "projections": EVERYWHERE}),
    Entry("Full fine-tuning", {"name": "full"}),
    HEART,
)


@dataclass(frozen=True)
class Plan:
    """plain: what all runs have in common. epochs: of a method that trains in the backbone, and of a side method."""

    plain: RunSpec
    epochs: int
    side_epochs: int
    heads: int
    seeds: tuple[int, ...] = SEEDS
    entries: tuple[Entry, ...] = ENTRIES

    def spec(self, entry: Entry, lr: float, seed: int, **settings: Any) -> RunSpec:
        epochs, cached = (self.side_epochs, {"cache_features": "disk"}) if entry.is_side else (self.epochs, {})
        method = entry.settings | settings
        return self.plain.replace(method=method, lr=lr, seed=seed, epochs=epochs, **cached, **entry.more)

    def start(self, entry: Entry) -> float:
        """The rate from which an entry's climb begins: that of its method's recipe."""
        known = best(entry.settings["name"], self.plain.backbone).lr
        return min(RATES, key=lambda rate: abs(rate / known - 1))

    def rate(self, entry: Entry, log: RunLog) -> tuple[float, bool]:
        """The best rate so far by the first seed's validation, and whether worse ones stand on both sides of it; else
        the rate to be tried next."""
        tried = {rate: value for rate in RATES if (value := self._val(entry, rate, log)) is not None}
        if not tried:
            return self.start(entry), False
        # Of equals the smaller, but none of the ladder's ends: what lies beyond is not known.
        chosen = max(tried, key=lambda rate: (tried[rate], rate not in (RATES[0], RATES[-1]), -rate))
        place = RATES.index(chosen)
        for neighbour in RATES[place + 1 : place + 2] + RATES[max(0, place - 1) : place]:
            if neighbour not in tried:
                return neighbour, False
        return chosen, True

    def _val(self, entry: Entry, rate: float, log: RunLog) -> float | None:
        row = log.known(self.spec(entry, rate, self.seeds[0]))
        return None if row is None else -1.0 if row["val"] is None else row["val"]

    def runs(self, log: RunLog) -> Iterator[RunSpec]:
        """Every run, to be made while this is read: an entry's rates, its seeds, the next entry; then the heads."""
        for entry in self.entries:
            while not (found := self.rate(entry, log))[1]:
                yield self.spec(entry, found[0], self.seeds[0])
            for seed in self.seeds[1:]:
                yield self.spec(entry, found[0], seed)
        if HEART not in self.entries:
            return
        heart, lr = HEART, self.rate(HEART, log)[0]
        for count in range(self.heads // 2, 0, -1):
            for seed in self.seeds:
                yield self.spec(heart, lr, seed, n_off=count)
            for mask, seed in self.masks(count):
                yield self.spec(heart, lr, seed, n_off=None, off=(mask,))

    def masks(self, count: int) -> list[tuple[tuple[int, ...], int]]:
        """Random sets of so many heads, none twice, each with its seed; all of them where there are few."""
        every = list(combinations(range(self.heads), count))
        random.Random(count).shuffle(every)
        return [(mask, self.seeds[number % len(self.seeds)]) for number, mask in enumerate(every[:MASKS])]


def reached(row: Row | None) -> float | None:
    """Test accuracy in percent; None where there is no run, or it diverged."""
    return None if row is None or row["test"] is None else 100 * row["test"]
