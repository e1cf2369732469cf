"""A few training images of each class of an embedded task: `few:TASK?shots=4&seed=0`.

Settings: shots (default 16) and seed (default 0) of the draw. Validation and test images are the task's own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from peftcore import errors
from peftcore.task import Split, Task, embedded_tasks, load_task
from peftcore.tasks.files import _folders

TITLE = "Few of an embedded task"
DESCRIPTION = "An embedded task with a few training images of each class."
GROUP = "natural"
CLASSES = ()
ARGUMENT = "TASK"
SOURCE = "The embedded task's own"
SETTINGS = {"shots": (16, (range(1, 10_001),)), "seed": (0, (range(0, 2**31),))}


@lru_cache(maxsize=8)
def load(argument: str = "") -> Task:
    """The task with fewer training images; those of fewer shots are among those of more, with one seed.

    Raises:
        UnknownName: no such embedded task, or no such setting.
        InvalidSetting: no task, a value that is not allowed, or more shots than a class has images.
    """
    name, said = _folders.parse_settings("few", argument, SETTINGS, "an embedded task", ARGUMENT)
    if name not in embedded_tasks():
        raise errors.unknown("embedded task", name, embedded_tasks())
    whole, shots = load_task(name), said["shots"]
    labels = np.asarray(whole.train.labels)
    rng, counts = np.random.default_rng(said["seed"]), np.bincount(labels, minlength=len(whole.classes))
    if shots > counts.min():
        raise errors.InvalidSetting(
            f"Task 'few': shots={shots} is not possible; the smallest class of {name} has {counts.min()} images."
        )
    each = [rng.permutation(np.flatnonzero(labels == one))[:shots] for one in range(len(whole.classes))]
    train = Split(whole.train.images[drawn := np.concatenate(each)], labels[drawn])
    for part in (train.images, train.labels):
        part.flags.writeable = False
    text = (
        f"{whole.description} {shots} training image{'s' * (shots > 1)} of each class, drawn with seed {said['seed']}."
    )
    return replace(
        whole, name=f"few:{argument}", title=f"{whole.title}, {shots} of each class", description=text, train=train
    )
