"""The class and the split of images by the folders that they are in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from peftcore import errors
from peftcore.uploads.notes import listed
from peftcore.uploads.placed import CONTAINERS, PARTS, Found, Placed, Skipped
from peftcore.uploads.splits import hints_at_a_split, split_of, splits_of


def by_folder(images: Sequence[str], inner: str) -> Found:
    paths = {image: image[len(inner) :].split("/")[:-1] for image in images}  # the folders above each image
    heads = {above[0] for above in paths.values() if above}
    said = splits_of(heads)
    deep = {said[above[0]] for above in paths.values() if len(above) > 1 and above[0] in said}
    if heads and heads <= said.keys() and deep and 0 not in said.values():
        raise errors.BadData(
            f"It has folders of classes in {_listed(heads)}, but none to train on; rename one of them to train, or "
            "use a folder for each class."
        )
    # Other folders beside two splits are not classes; beside one split they are, since a class may be called train.
    if heads and heads <= said.keys() or 0 in said.values() and len({*said.values()}) > 1:
        return _by_split(paths, said)
    if below := _splits_within(paths):
        placed, skipped = [], []
        for file, above in paths.items():
            if len(above) > 1 and above[1] not in below or not above:
                skipped.append(Skipped(file, "it is not in a folder of a split") if above else _stray(file))
            else:
                placed.append(Placed(file, above[0], below[above[1]] if len(above) > 1 else -1))
        return Found("splits", placed, skipped, (), (f"Within each class, {_listed({*below})} are read as splits.",))
    if deeper := _holder_of_splits(paths):
        found = by_folder([file for file in images if file.startswith(inner + deeper)], inner + deeper)
        rest = [_stray(file) for file in images if not file.startswith(inner + deeper)]
        return found._replace(skipped=[*found.skipped, *rest])
    placed = [Placed(file, above[0], -1) for file, above in paths.items() if above]
    notes = _on_equal_folders(paths)
    return Found("folders", placed, [_stray(file) for file, above in paths.items() if not above], (), notes)


def _on_equal_folders(paths: Mapping[str, list[str]]) -> list[str]:
    """A note where all folders hold the same folders, which may be the classes of splits of any other name.

    Raises BadData where one of their names also speaks of a split: then two splits would be told apart as classes.
    """
    children: defaultdict[str, set[str]] = defaultdict(set)
    for above in paths.values():
        if len(above) > 1 and above[1].casefold() not in (*CONTAINERS, *PARTS):
            children[above[0]].add(above[1])
    same = sorted(set.intersection(*children.values())) if len(children) > 1 else []
    if len(same) < 2:
        return []
    hold = f"Its folders {listed(sorted(children))} all hold the folders {listed(same)}"
    if any(map(hints_at_a_split, children)):
        raise errors.BadData(
            f"{hold}, as splits do: rename the outer ones to train, val and test. If they are the classes, put their "
            "images straight into them."
        )
    return [f"{hold}: the outer ones are read as the classes. If they are splits, rename them to train, val and test."]


def _splits_within(paths: Mapping[str, list[str]]) -> dict[str, int]:
    """The split folders inside at least two classes, and their splits; empty where there are none."""
    children: defaultdict[str, set[str]] = defaultdict(set)
    for above in paths.values():
        children[above[0] if above else ""] |= {*above[1:2]}
    found = [said for names in children.values() if {0} < {*(said := splits_of(names)).values()}]
    return {name: split for said in found for name, split in said.items()} if len(found) > 1 else {}


def _holder_of_splits(paths: Mapping[str, list[str]]) -> str:
    """The one folder below, as 'a/b/', with splits side by side; '' where there is none, or several.

    Folders beside it (unlabelled images, pictures of the documentation) do not turn it into a class.
    """
    children: defaultdict[str, set[str]] = defaultdict(set)
    for above in paths.values():
        for depth in range(1, len(above)):
            children["/".join(above[:depth]) + "/"].add(above[depth])
    holders = [folder for folder, names in children.items() if {0} < {*splits_of(names).values()}]
    least = min((folder.count("/") for folder in holders), default=0)
    holders = [folder for folder in holders if folder.count("/") == least]
    return holders[0] if len(holders) == 1 else ""


def _by_split(paths: Mapping[str, list[str]], said: Mapping[str, int]) -> Found:
    """Classes within split folders; folders between a split and its classes are skipped."""
    placed, skipped = [], []
    for head, split in said.items():
        below = {file: above[1:] for file, above in paths.items() if above[:1] == [head]}
        while _wraps(below, head, split):
            below = {file: above[1:] for file, above in below.items()}
        placed += [Placed(file, above[0], split) for file, above in below.items() if above]
        skipped += [_stray(file) for file, above in below.items() if not above]
    skipped += [_stray(file) for file, above in paths.items() if not above or above[0] not in said]
    order = {file: at for at, file in enumerate(paths)}
    return Found("splits", sorted(placed, key=lambda one: order[one.file]), skipped)


def _wraps(below: Mapping[str, list[str]], outer: str, split: int) -> bool:
    """Whether a split holds a further folder that is not a class: 'seg_train/seg_train/', 'train/images/'."""
    heads = {above[0] for above in below.values() if above}
    if len(heads) != 1:
        return False
    head = min(heads)
    return head == outer or head.casefold() in CONTAINERS or split_of(head) == split


def _stray(file: str) -> Skipped:
    return Skipped(file, "it is not in a folder of a class")


def _listed(names: set[str]) -> str:
    return " and ".join(sorted(name.casefold() for name in names))
