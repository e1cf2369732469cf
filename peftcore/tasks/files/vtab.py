"""VTAB-1K's tasks, and others in their layout, from a folder: `vtab:PATH` or `vtab:PATH?setting=value&...`.

The folder has train800.txt, val200.txt, train800val200.txt and test.txt with lines `images/train800/000000.jpg 307`
(paths from the folder, labels from 0), as in NOAH and most code since. Settings:

    protocol  train800 (default): trains on 800 images and validates on 200 others.
              train800val200: trains on all 1,000, as for published accuracies. Validation images are then training
              images: their accuracy measures memorisation, and no model is selected by it.
    size      pixels on a side to which images are resized when they are decoded; 224 by default
    fit       stretch (default, as in published code), or crop: the shorter side to size, then the middle
    symmetries   what augmentation may do to an image without changing its label: all, none, or a comma-separated
              choice of mirror, shift, warp; by default what is known of the task, and all for any other folder

A folder named after one of the 19 tasks, in any common spelling, has that task's group, and its labels must be below
that task's number of classes. Any other folder counts as natural, with as many classes as its classes.txt names or its
labels need.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from peftcore.task import SYMMETRIES, Task
from peftcore.tasks.files import _folders

TITLE = "VTAB-1K folder"
DESCRIPTION = "One of VTAB-1K's 19 tasks, or another in their layout, from a folder on this machine."
GROUP = "natural"  # of folders with other names; the 19 have their own
CLASSES = ()
ARGUMENT = "PATH"
SOURCE = "A folder in the layout of VTAB-1K (Zhai et al. 2019, arXiv 1910.04867)"
PROTOCOLS = {"train800": ("train800.txt", "val200.txt"), "train800val200": ("train800val200.txt", "val200.txt")}
TRAINS_ON_VAL = " It also trains on the validation images, so only the test images are new."
SETTINGS = {
    "protocol": ("train800", tuple(PROTOCOLS)),
    "symmetries": (None, tuple(_folders.SYMMETRIES_SAID)),
    **_folders.DECODING,
}

# name: (group, classes, other spellings)
KNOWN = {
    "cifar": ("natural", 100, ("cifar100",)),
    "caltech101": ("natural", 102, ("caltech",)),
    "dtd": ("natural", 47, ()),
    "oxford_flowers102": ("natural", 102, ("oxford_flowers", "flowers102", "flowers")),
    "oxford_iiit_pet": ("natural", 37, ("oxford_pet", "oxford_pets", "oxford_iiit_pets", "pets", "pet")),
    "svhn": ("natural", 10, ("svhn_cropped",)),
    "sun397": ("natural", 397, ()),
    "patch_camelyon": ("specialised", 2, ("pcam", "camelyon")),
    "eurosat": ("specialised", 10, ()),
    "resisc45": ("specialised", 45, ("resisc",)),
    "diabetic_retinopathy": ("specialised", 5, ("retinopathy",)),
    "clevr_count": ("structured", 8, ("clevr_count_all",)),
    "clevr_dist": ("structured", 6, ("clevr_distance", "clevr_closest_object_distance")),
    "dmlab": ("structured", 6, ()),
    "kitti": ("structured", 4, ("kitti_dist", "kitti_distance")),
    "dsprites_loc": ("structured", 16, ("dsprites_location", "dsprites_xpos", "dsprites_label_x_position")),
    "dsprites_ori": ("structured", 16, ("dsprites_orientation", "dsprites_label_orientation")),
    "smallnorb_azi": ("structured", 18, ("smallnorb_azimuth", "smallnorb_label_azimuth", "snorb_azim")),
    "smallnorb_ele": ("structured", 9, ("smallnorb_elevation", "smallnorb_label_elevation", "snorb_elev")),
}  # fmt: skip
# Of the tasks whose labels depend on position or direction, or whose images do not mirror.
SYMMETRIES_OF = {
    "svhn": ("shift", "warp"),
    **dict.fromkeys(("clevr_count", "clevr_dist", "dmlab", "kitti", "smallnorb_ele"), ("mirror", "shift")),
    "dsprites_loc": (),
    **dict.fromkeys(("dsprites_ori", "smallnorb_azi"), ("shift",)),
}
_SPELLINGS = {spelt: name for name, (_, _, others) in KNOWN.items() for spelt in (name, *others)}


def known(folder: str) -> str | None:
    """Which of the 19 a folder's name means ('Oxford-Pet', 'vtab-oxford_pet': 'oxford_iiit_pet'), or None."""
    plain = re.sub(r"[^a-z0-9]|vtab(-?1k)?", "", folder.lower())
    return next((name for spelt, name in _SPELLINGS.items() if spelt.replace("_", "") == plain), None)


def load(argument: str = "") -> Task:
    """The task of a folder, kept until one of its lists changes; images are decoded when they are read.

    Raises:
        UnknownName, InvalidSetting: an unknown setting or an invalid value.
        BadData: a missing folder, list or image, a line that is not a pair, a label beyond the classes, or a path out
            of the folder; a test image that is trained on; later, when it is read, a broken image.
    """
    folder, said = _folders.parse("vtab", argument, SETTINGS)
    names = (*PROTOCOLS[said["protocol"]], "test.txt")
    files = tuple(folder / name for name in (*names, "classes.txt"))
    own = SYMMETRIES_OF.get(known(folder.name) or "", SYMMETRIES)
    symmetries = own if said["symmetries"] is None else _folders.SYMMETRIES_SAID[said["symmetries"]]
    return _task(argument, folder, names, said["size"], said["fit"], symmetries, _folders.stamps(files))


@lru_cache(maxsize=4)
def _task(
    argument: str, folder: Path, names: tuple[str, ...], size: int, fit: str, symmetries: tuple[str, ...], stamps: tuple
) -> Task:
    name = known(folder.name)
    group, count, _ = KNOWN[name] if name else (GROUP, None, ())
    lists = {str(folder / name): _folders.read_list(folder / name) for name in names}
    classes = _folders.class_names(folder, lists, count)
    train, val, test = (_folders.read_split(folder, folder, file, lines, size, fit) for file, lines in lists.items())
    title = f"{TITLE}: {folder.name}"
    text = f"From the folder {folder.name}." + (TRAINS_ON_VAL if names[0] == "train800val200.txt" else "")
    present = len(np.unique(np.concatenate([split.labels for split in (train, val, test)])))
    if count and present < count:
        text += f" It has images of {present} of {name}'s {count} classes."
    return Task(
        f"vtab:{argument}", title, text, group, classes, train, val, test, SOURCE, symmetries,
        val_is_new=_folders.val_is_new(lists),
    )  # fmt: skip
