"""Few-shot sets in NOAH's layout, from a folder: `fewshot:PATH?shots=4&seed=0`.

The folder has annotations/ with train_meta.list.num_shot_{1,2,4,8,16}.seed_{0,1,2}, val_meta.list and
test_meta.list, with lines `0548719.jpg 0`. Images are in its images/, or in the folder itself if the first training
image is not there. Settings: shots (default 16) and seed (default 0) choose the training list;
size, fit and symmetries (default all) as in vtab.py.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from peftcore.task import Task
from peftcore.tasks.files import _folders

TITLE = "Few-shot folder"
DESCRIPTION = "A few images of each class to learn from: a set in NOAH's layout, from a folder on this machine."
GROUP = "natural"
CLASSES = ()
ARGUMENT = "PATH"
SOURCE = "A folder in the layout of NOAH's few-shot sets (Zhang et al. 2022, arXiv 2206.04673)"
SETTINGS = {"shots": (16, (1, 2, 4, 8, 16)), "seed": (0, (0, 1, 2)), **_folders.DECODING}
SETTINGS["symmetries"] = ("all", tuple(_folders.SYMMETRIES_SAID))


def load(argument: str = "") -> Task:
    """The set of a folder, kept until one of its lists changes; images are decoded when they are read.

    Raises:
        UnknownName, InvalidSetting: an unknown setting or an invalid value.
        BadData: as vtab.load does.
    """
    folder, said = _folders.parse("fewshot", argument, SETTINGS)
    train = f"train_meta.list.num_shot_{said['shots']}.seed_{said['seed']}"
    files = tuple(folder / "annotations" / name for name in (train, "val_meta.list", "test_meta.list"))
    stamps = _folders.stamps((*files, folder / "classes.txt"))
    symmetries = _folders.SYMMETRIES_SAID[said["symmetries"]]
    return _task(argument, folder, files, said["size"], said["fit"], symmetries, stamps)


@lru_cache(maxsize=4)
def _task(
    argument: str,
    folder: Path,
    files: tuple[Path, ...],
    size: int,
    fit: str,
    symmetries: tuple[str, ...],
    stamps: tuple,
) -> Task:
    lists = {str(file): _folders.read_list(file) for file in files}
    classes = _folders.class_names(folder, lists)
    first = next(iter(lists.values()))[0][0]
    images = folder / "images" if (folder / "images" / first).exists() else folder
    train, val, test = (_folders.read_split(folder, images, file, lines, size, fit) for file, lines in lists.items())
    title, text = f"{TITLE}: {folder.name}", f"From the folder {folder.name}."
    return Task(
        f"fewshot:{argument}", title, text, GROUP, classes, train, val, test, SOURCE, symmetries,
        val_is_new=_folders.val_is_new(lists),
    )  # fmt: skip
