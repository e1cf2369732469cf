"""Tasks: named splits of images and labels. One file per kind of data, anywhere in peftcore/tasks, found by its name.

A task's file has the constants TITLE, DESCRIPTION, GROUP, CLASSES (empty where they are known only after loading) and
SOURCE, and `load(argument) -> Task`. Where some changes of an image would change its label it also has SYMMETRIES: the
changes that do not. The constants are read without loading any image; whatever is slow to import is imported inside
`load`. A kind of task that needs an argument also has ARGUMENT, the word for it ("PATH"): lists then show
`<name>:PATH`. GROUP is one of GROUPS, which pages list. `load` is cached, and what it returns has arrays that cannot be
written to: all who ask share one copy. Files whose name starts with an underscore are shared tools, not tasks.

A kind whose data may have to be downloaded also has `here(argument) -> bool`, which uses no network, and
`fetch(argument, tell) -> Path`, which downloads them; its `load` reads what is on this machine, and raises
DataUnavailable where that is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from peftcore import errors, registry

GROUPS = ("natural", "specialised", "structured")
# Changes of an image that may leave its label as it is, so that augmentation may make them: left and right exchanged;
# moved by a few pixels; turned, sheared or moved further.
SYMMETRIES = ("mirror", "shift", "warp")


@dataclass(frozen=True)
class Split:
    """Images and their labels, in a fixed order. The arrays may be read-only: copy before changing them."""

    # uint8 (n, H, W, 3), RGB: an array, or what is read like one by number, slice or array of numbers (_pictures.py)
    images: Any
    labels: np.ndarray  # int64 (n,), indices into Task.classes

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """A classification task: what it asks, its class names and its three splits."""

    name: str
    title: str
    description: str
    group: str  # one of GROUPS
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    source: str
    symmetries: tuple[str, ...] = SYMMETRIES  # those of them that keep labels as they are
    val_is_new: bool = True  # False where validation images are trained or tested on: they cannot select anything

    def __post_init__(self) -> None:
        """Raises BadData where labels and images or classes do not belong together."""
        for part in ("train", "val", "test"):
            n, of = len((split := getattr(self, part)).images), np.asarray(split.labels)
            if of.shape != (n,) or n and (of.dtype.kind not in "iu" or of.min() < 0 or of.max() >= len(self.classes)):
                what = f"{n} labels, a whole number from 0 to {len(self.classes) - 1} for each image"
                raise errors.BadData(f"Task {self.name!r}: its {part} split needs {what}.")

    def check_select(self, select: str) -> None:
        """Raises InvalidSetting where a RunSpec's `select` would choose by images that are trained or tested on."""
        if select == "val" and not self.val_is_new:
            raise errors.InvalidSetting(
                f"select='val' is not possible on {self.title}: it trains on its validation images or tests on them, "
                "so what they select has no honest accuracy. Use select='last', or give it validation images of their "
                "own (of a VTAB-1K folder: protocol=train800)."
            )


@dataclass(frozen=True)
class TaskCard:
    """What is known of a task without loading it: the constants of its file."""

    name: str
    title: str
    description: str
    group: str
    classes: tuple[str, ...]  # empty where they depend on the argument
    source: str
    argument: str = ""  # the word for what must stand after "name:", such as "PATH"; empty for tasks without
    symmetries: tuple[str, ...] | None = SYMMETRIES  # None where they depend on the argument

    @property
    def shown(self) -> str:
        """The name as lists show it: "digits", "vtab:PATH"."""
        return f"{self.name}:{self.argument}" if self.argument else self.name


def task_card(name: str) -> TaskCard:
    """The card of the task called `name` ("digits", or "name:argument"). Raises UnknownName."""
    kind = name.partition(":")[0]
    module = registry.TASKS.load(kind)
    argument = getattr(module, "ARGUMENT", "")
    symmetries = None if argument else getattr(module, "SYMMETRIES", SYMMETRIES)
    return TaskCard(
        kind, module.TITLE, module.DESCRIPTION, module.GROUP, tuple(module.CLASSES), module.SOURCE, argument, symmetries
    )


def embedded_tasks() -> tuple[str, ...]:
    """The tasks that need no argument, and come with Headroom."""
    return tuple(name for name in registry.TASKS.names() if not task_card(name).argument)


def load_task(name: str, download: bool = False) -> Task:
    """Load a task by "name", or by "name:argument" where its kind takes one (a folder, a data set's name).

    A data set that is not on this machine is downloaded if `download` is set, with a bar on a terminal. A run downloads
    its own before it begins.

    Raises UnknownName (with the nearest known name), InvalidSetting for an argument that the kind does not take,
    DataUnavailable for a data set that is not here or cannot be downloaded.
    """
    module, argument = _kind(name)
    if download and not here(name):
        with registry.FETCH.load("arrivals").bar(name.partition("?")[0]) as tell:
            fetch(name, tell)
    return module.load(argument)


def _kind(name: str) -> tuple[ModuleType, str]:
    """The file of a task, and the argument for it."""
    kind, _, argument = name.partition(":")
    module = registry.TASKS.load(kind)
    if argument and not hasattr(module, "ARGUMENT"):
        raise errors.InvalidSetting(f"Task {kind!r} takes no argument but got {argument!r}; write task={kind!r}.")
    return module, argument


def here(name: str) -> bool:
    """Whether a task's data need no download. Raises what `load_task` raises for a wrong name or setting."""
    module, argument = _kind(name)
    return not hasattr(module, "here") or module.here(argument)


def fetch(name: str, tell: Callable[[int, int | None], None] = lambda *_: None) -> Path:
    """Downloads a task's data, where they are not here, and returns the folder that holds them.

    `tell(bytes so far, bytes in all or None)` is called for each file; what it raises stops the download.

    Raises DataUnavailable: unreachable, no room, not the promised data, or a task without a download; and what
    `here` raises.
    """
    module, argument = _kind(name)
    if not hasattr(module, "fetch"):
        raise errors.DataUnavailable(f"Task {name!r} has no download: there is nothing to fetch.")
    return module.fetch(argument, tell)


def read_ahead(images: np.ndarray, index: Any) -> None:
    """Announces that `images[index]` is read next, so that image files are decoded in the background meanwhile."""
    if hasattr(images, "ahead"):
        images.ahead(index)


def check_images(images: np.ndarray) -> Iterator[int]:
    """Makes sure that image files can be read, and yields how many have been; yields nothing for an array.

    Raises:
        BadData: naming the first file that is broken.
    """
    if hasattr(images, "check"):
        yield from images.check()


registry.TASKS.list_when_called(__name__)
