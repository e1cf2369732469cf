"""Tasks cut to a few images, for tests that train."""

from __future__ import annotations

import dataclasses

from peftcore.tasks import Split, Task


def cut(task: Task, train: int, val: int, test: int) -> Task:
    """The first images of each split."""

    def first(split: Split, count: int) -> Split:
        return Split(split.images[:count], split.labels[:count])

    return dataclasses.replace(
        task, train=first(task.train, train), val=first(task.val, val), test=first(task.test, test)
    )
