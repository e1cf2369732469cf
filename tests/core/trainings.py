"""Shared by tests that train: tasks cut to a few images, and a run's events with its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Any

from peftcore.task import Split, Task


def cut(task: Task, train: int, val: int, test: int) -> Task:
    """The first images of each split."""

    def first(split: Split, count: int) -> Split:
        return Split(split.images[:count], split.labels[:count])

    return dataclasses.replace(
        task, train=first(task.train, train), val=first(task.val, val), test=first(task.test, test)
    )


def drain(events: Generator) -> tuple[list, Any]:
    """Every event of a run, and its result."""
    seen = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return seen, end.value
