"""torchvision's data sets with one label per image: `torchvision:NAME` or `torchvision:NAME?setting=value&...`.

Downloaded once, from torchvision's addresses and with its checksums, into `datasets/torchvision` of Headroom's own
folder (HEADROOM_HOME); put files of data sets that cannot be downloaded there by hand. Settings: see _named.py.
"""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from peftcore import errors
from peftcore.fetch import transfer
from peftcore.fetch.transfer import Tell
from peftcore.home import home
from peftcore.task import SYMMETRIES, Task
from peftcore.tasks.files import _folders
from peftcore.tasks.remote import _named
from peftcore.tasks.remote._torchvision import DAMAGED, kept, our_downloads
from peftcore.uploads.decoding import fitted

TITLE = "torchvision data set"
DESCRIPTION = (
    "One of torchvision's data sets, downloaded once: 800 images to train, 200 to validate, its own test split."
)
GROUP = "natural"  # unless GROUPS says otherwise
CLASSES = ()
ARGUMENT = "NAME"
SETTINGS = _named.SETTINGS
SOURCE = "torchvision.datasets"

GROUPS = {"PCAM": "specialised", "EuroSAT": "specialised", "CLEVRClassification": "structured"}

_BY_TRAIN = {"train": {"train": True}, "test": {"train": False}}
_TWO = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE = {"train": {"split": "train"}, "val": {"split": "val"}, "test": {"split": "test"}}
_WITHOUT_TEST = {"train": {"split": "train"}, "val": {"split": "val"}}
_ONE: dict[str, dict[str, Any]] = {"all": {}}
# The arguments of each class that give each split. Left out: data sets whose images have more than one class (CelebA)
# or whose splits have different classes (Omniglot, LFW), and FakeData, which is not a data set.
SPLITS: dict[str, dict[str, dict[str, Any]]] = {
    **dict.fromkeys(("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS"), _BY_TRAIN),
    "EMNIST": {split: {"split": "balanced", **which} for split, which in _BY_TRAIN.items()},
    **dict.fromkeys(("FER2013", "Food101", "GTSRB", "STL10", "StanfordCars", "SVHN"), _TWO),
    **dict.fromkeys(("DTD", "FGVCAircraft", "Flowers102", "PCAM", "RenderedSST2"), _THREE),
    "Country211": _THREE | {"val": {"split": "valid"}},
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    **dict.fromkeys(("CLEVRClassification", "ImageNet", "Imagenette"), _WITHOUT_TEST),
    "Places365": {"train": {"split": "train-standard", "small": True}, "val": {"split": "val", "small": True}},
    "INaturalist": {"train": {"version": "2021_train_mini"}, "val": {"version": "2021_valid"}},
    **dict.fromkeys(("Caltech101", "Caltech256", "EuroSAT", "SEMEION", "SUN397"), _ONE),
}  # fmt: skip
# Of the data sets whose labels depend on position or direction, or whose images do not mirror.
SYMMETRIES_OF = {
    **dict.fromkeys(("EMNIST", "KMNIST", "MNIST", "QMNIST", "SEMEION", "SVHN", "USPS"), ("shift", "warp")),
    **dict.fromkeys(("GTSRB", "RenderedSST2"), ("shift", "warp")),
    "CLEVRClassification": ("mirror", "shift"),
}
BY_HAND = ("FER2013", "ImageNet", "StanfordCars")  # need an account, or are no longer offered for download


def folder(name: str) -> Path:
    """The folder of a complete data set, or for the files of one that must be put there by hand."""
    return home() / "datasets" / "torchvision" / name


def parsed(argument: str) -> tuple[str, dict[str, Any]]:
    """The data set's name and the settings. Raises UnknownName, InvalidSetting."""
    name, said = _folders.parse_settings("torchvision", argument, SETTINGS, "a data set of torchvision", ARGUMENT)
    if name not in SPLITS:
        spelt = {known.lower(): known for known in SPLITS}
        if name.lower().replace("-", "").replace("_", "") in spelt:
            name = spelt[name.lower().replace("-", "").replace("_", "")]
            raise errors.UnknownName(f"torchvision's data set is spelt {name!r}: write torchvision:{name}.")
        raise errors.unknown("data set of torchvision with a class for each image called", name, SPLITS, most=40)
    return name, said


def here(argument: str) -> bool:
    """Whether the whole data set is on this machine. Raises UnknownName, InvalidSetting."""
    return folder(parsed(argument)[0]).is_dir()


def load(argument: str = "") -> Task:
    """The task of a data set on this machine; images are decoded when they are read.

    Raises:
        UnknownName, InvalidSetting: no such data set or setting, or more images requested than there are.
        DataUnavailable: it is not on this machine, or incomplete.
        BadData: later, when it is read, a broken image.
    """
    name, said = parsed(argument)
    if not folder(name).is_dir():
        remedy = (
            f", and it cannot be downloaded for you: put its files into {folder(name)}, as torchvision.datasets.{name} "
            "expects them."
            if name in BY_HAND
            else f": fetch it (python -m peftcore fetch torchvision:{name}) where there is a network, or copy "
            f"{folder(name)} from a machine that has it."
        )
        raise errors.DataUnavailable(f"torchvision's {name} is not on this machine{remedy}")
    return _task(argument, name, tuple(sorted(said.items())), str(folder(name)))


@lru_cache(maxsize=4)
def _task(argument: str, name: str, settings: tuple, root: str) -> Task:
    said = dict(settings)
    try:
        parts = {split: _class(name)(root=root, **which) for split, which in SPLITS[name].items()}
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        raise errors.DataUnavailable(
            f"torchvision cannot read {name} in {root}: {transfer.why(error)}. Put its files there as "
            f"torchvision.datasets.{name} expects them, or remove the folder and fetch it again."
        ) from error
    labels = {split: own for split, part in parts.items() if (own := _labels(name, part)) is not None}
    orders = {split: _order(parts[split]) for split in labels}
    labels = {split: own[orders[split]] for split, own in labels.items()}
    classes = _classes(parts, labels)
    found, text = _named.places(f"torchvision:{name}", labels, said)

    def read(split: str, number: int) -> np.ndarray:
        number = int(orders[split][number])
        try:
            image = parts[split][number][0]
            if name == "EMNIST":
                image = image.transpose(5)  # PIL's TRANSPOSE: its letters lie on their side, mirrored
            return fitted(image, said["size"], said["fit"])
        except (OSError, ValueError, LookupError, SyntaxError) as error:
            raise errors.BadData(
                f"Image {number:,} of the {split} split of {name} in {root} cannot be read: {transfer.why(error)}. "
                "Remove the folder and fetch the data set again."
            ) from error

    train, val, test = _named.splits(found, labels, read, said["size"], said["fit"])
    title, group = f"{TITLE}: {name}", GROUPS.get(name, GROUP)
    symmetries = _named.symmetries(said, SYMMETRIES_OF.get(name, SYMMETRIES))
    return Task(
        f"torchvision:{argument}", title, f"{name}. {text}", group, classes, train, val, test, SOURCE, symmetries
    )


def _class(name: str) -> type:
    from torchvision import datasets

    return getattr(datasets, name)


def _labels(name: str, part: Any) -> np.ndarray | None:
    """The classes (n,) of its images; None where they are not published."""
    if name == "PCAM":
        with part.h5py.File(part._base_folder / part._FILES[part._split]["targets"][0]) as file:
            return file["y"][:, 0, 0, 0].astype(np.int64)
    if name == "INaturalist":
        labels = [label for label, _ in part.index]
    elif found := next((a for a in ("_labels", "targets", "labels", "y") if hasattr(part, a)), None):
        labels = list(getattr(part, found))
    else:
        labels = [label for _, label in part._samples]
    return None if any(label is None for label in labels) else np.array(labels, np.int64)


def _order(part: Any) -> np.ndarray:
    """The images sorted by file name, where their order is that of a folder, which differs between machines."""
    names = getattr(part, "_image_files", None) or getattr(part, "index", None)
    if not names or isinstance(names[0], int):
        return np.arange(len(part))
    return np.array(sorted(range(len(names)), key=lambda i: tuple(map(str, np.atleast_1d(names[i])))))


def _classes(parts: dict[str, Any], labels: dict[str, np.ndarray]) -> tuple[str, ...]:
    """The class names of the data set, or else its class numbers; labels become numbers from 0."""
    part = next(iter(parts.values()))
    names = next(
        (getattr(part, a) for a in ("classes", "categories", "all_categories") if getattr(part, a, None)), None
    )
    present = np.unique(np.concatenate(list(labels.values())))
    if names and present.min() >= 0 and present.max() < len(names):
        return _named.unique([name if isinstance(name, str) else name[0] for name in names])
    for split, found in labels.items():
        labels[split] = np.searchsorted(present, found)
    return tuple(map(str, present.tolist()))


# Downloads


def fetch(argument: str, tell: Tell = lambda *_: None) -> Path:
    """Downloads a data set, unless it is on this machine, and returns its folder.

    Until all of it is downloaded, unpacked and read once, it is in a hidden folder and does not count as here. A
    stopped download continues from what has arrived. Two downloads of one data set wait for each other.

    Raises:
        UnknownName, InvalidSetting: as `load`.
        DataUnavailable: no connection, no room, a wrong checksum, or it cannot be downloaded by a program.
    """
    name, _ = parsed(argument)
    goal = folder(name)
    if goal.is_dir():
        return goal
    if name in BY_HAND:
        load(argument)
    unpacked, came = goal.with_name(f".{name}.unpacking"), goal.with_name(f".{name}.downloads")
    try:
        with transfer.only_one(goal.with_name(f".{name}.lock"), tell):
            if not goal.is_dir():
                shutil.rmtree(unpacked, ignore_errors=True)  # perhaps half unpacked; the downloaded files are elsewhere
                with our_downloads(came, tell):
                    for which in SPLITS[name].values():
                        unpacked.mkdir(parents=True, exist_ok=True)
                        _class(name)(root=str(unpacked), download=True, **which)
                tell(0, None)
                unpacked.rename(goal)
                shutil.rmtree(came, ignore_errors=True)
    except transfer.NETWORK as error:
        raise errors.DataUnavailable(
            f"torchvision's {name} could not be downloaded ({transfer.why(error)}); {kept(came)}. Connect to the "
            f"network and try again, or copy {goal} from a machine that has it (python -m peftcore fetch "
            f"torchvision:{name})."
        ) from error
    except OSError as error:
        remedy = "Make room there, or choose" if transfer.no_room(error) else "Choose"
        raise errors.DataUnavailable(
            f"torchvision's {name} cannot be kept in {goal.parent}: {transfer.why(error)}; {kept(came)}. {remedy} "
            "another folder with HEADROOM_HOME."
        ) from error
    except DAMAGED as error:
        shutil.rmtree(came, ignore_errors=True)
        raise errors.DataUnavailable(
            f"The download of torchvision's {name} cannot be unpacked ({transfer.why(error)}); nothing of it was "
            "kept. Try again."
        ) from error
    except RuntimeError as error:
        if "corrupted" not in str(error):  # an optional package that it needs, such as h5py
            raise errors.DataUnavailable(f"torchvision cannot fetch {name}: {transfer.why(error)}.") from error
        shutil.rmtree(came, ignore_errors=True)
        raise errors.DataUnavailable(
            f"The download of torchvision's {name} has another checksum than torchvision expects; nothing of it was "
            "kept. Try again; if this happens again, the data set has changed at its source."
        ) from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return goal
