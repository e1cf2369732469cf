"""Names that mean train, val or test, as people spell them: training_set, seg_test, Val-Images, test2017."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection

SPLITS = ("train", "val", "test")
_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval", "训练", "訓練", "学習"), 0),
    **dict.fromkeys(
        ("val", "valid", "validation", "validate", "validating", "dev", "development", "验证", "驗證", "検証"), 1
    ),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "测试", "測試", "テスト"), 2),
}
# Words beside one of these that carry no meaning.
_FILLERS = {
    "set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "picture", "pictures", "pics",
    "photo", "photos", "file", "files", "folder", "dir", "split", "sample", "samples", "label", "labels", "labelled",
    "labeled", "annotation", "annotations", "annotated", "list", "table", "meta", "metadata", "info", "gt", "csv",
    "ids", "jpg", "jpeg", "png", "raw", "full", "all", "final", "new", "集", "数据", "数据集", "データ", "画像", "图片",
}  # fmt: skip


def split_of(name: str) -> int | None:
    """The split that a name means, if it means nothing else: 'Training_Set' is 0, 'test_drive' is None."""
    split, rest = _read(name)
    return None if rest else split


def splits_of(names: Collection[str]) -> dict[str, int]:
    """Which of these names, of folders or files side by side, mean a split: alone, or as a family.

    'seg_train' and 'seg_test' are a family: they share one more word, and one of them is for training.
    """
    found: dict[str, int] = {}
    families: defaultdict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for name in names:
        split, rest = _read(name)
        if split is not None and not rest:
            found[name] = split
        elif split is not None:
            families[rest][name] = split
    for family in families.values():
        if len({*family.values()}) > 1 and 0 in family.values():
            found |= family
    return found


def joins_train_and_val(name: str) -> bool:
    """Whether a name means both at once: 'trainval', 'train800val200'."""
    words = _words(name)
    return "trainval" in words or {_parted(word)[0] for word in words} >= {0, 1}


def hints_at_a_split(name: str) -> bool:
    """Whether a word of a name means a split, or begins with one: 'PublicTest', 'train_extra', 'Trainingsdaten'."""
    long = tuple(word for word in _WORDS if len(word) > 3 or not word.isascii())  # 'value' is no 'val'
    return any(_parted(word)[0] is not None or word.startswith(long) for word in _words(name))


def _words(name: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", name)  # full-width letters
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain)  # TrainImages
    return re.findall(r"[^\W\d_]+", spaced.casefold())


def _read(name: str) -> tuple[int | None, tuple[str, ...]]:
    """The split that a name contains, and its other words; (None, ...) where it contains none, or two."""
    splits, rest = set(), []
    for word in _words(name):
        split, beside = _parted(word)
        if split is not None:
            splits.add(split)
        rest += beside
    if splits == {0, 1}:  # train_val: both at once
        splits = {0}
    return (splits.pop() if len(splits) == 1 else None), tuple(rest)


def _parted(word: str) -> tuple[int | None, list[str]]:
    """The split in one word, perhaps joined to a filler ('trainset'), or else the word itself."""
    if word in _FILLERS:
        return None, []
    for split, at in _WORDS.items():
        if word == split or word.removeprefix(split) in _FILLERS or word.removesuffix(split) in _FILLERS:
            return at, []
    return None, [word]
