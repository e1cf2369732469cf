"""The conditions under which an accuracy was measured, in words: how images became inputs, and whose weights were
tested. No torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from peftcore.registry import TASKS
from peftcore.spec import SELECTED, RunSpec
from peftcore.task import SYMMETRIES, task_card

FIELDS = ("resize", "normalisation", "augmentation", "select")
NORMALISATIONS = {
    "backbone": "the backbone's normalisation",
    "imagenet": "ImageNet's normalisation",
    "half": "normalisation by 0.5/0.5",
    "none": "no normalisation",
}
FITTED = {"stretch": "stretched", "crop": "resized and cropped"}

Size = Sequence[int]  # height, width


def words(
    spec: Mapping[str, Any],
    image: Size | None = None,
    size: Size | None = None,
    symmetries: Collection[str] | None = None,
) -> str:
    """'64 x 64 images stretched to 224 x 224 (bicubic), the backbone's normalisation, no augmentation, last epoch'.

    Args:
        spec: a RunSpec as a dict; fields added later may be missing in an older one.
        image, size: of the task's images and of the backbone's input, where they are known.
        symmetries: the task's; by default what its card says.
    """
    return ", ".join(part(spec, name, image, size, symmetries) for name in FIELDS)


def part(
    spec: Mapping[str, Any],
    name: str,
    image: Size | None = None,
    size: Size | None = None,
    symmetries: Collection[str] | None = None,
) -> str:
    """What one of FIELDS means for this run; arguments as in `words`."""
    value = spec.get(name, RunSpec.model_fields[name].default)
    size = size or (2 * [pixels] if (pixels := spec.get("image_size")) else None)
    match name:
        case "resize":
            return _resizing(value, image, size, _file_fit(spec.get("task", "")))
        case "normalisation":
            return NORMALISATIONS[value]
        case "augmentation":
            return _augmentation(value, _symmetries(spec["task"]) if symmetries is None else symmetries)
        case _:
            return SELECTED[value]


def of_run(spec: Mapping[str, Any], started: Mapping[str, Any] | None) -> str:
    """`words` of a run, with the sizes of its images once it has begun; `started`: that event as a dict."""
    return ", ".join(_parts(spec, started).values())


def _parts(spec: Mapping[str, Any], started: Mapping[str, Any] | None) -> dict[str, str]:
    settings = (started or {}).get("settings", {})
    facts = settings.get("image_size"), settings.get("input_size"), settings.get("symmetries")
    return {name: part(spec, name, *facts) for name in FIELDS}


def with_epoch(spec: Mapping[str, Any], text: str, selected: int | None) -> str:
    """`text` with the number of the epoch that was selected, where validation chose it."""
    return f"{text} ({selected} of {spec['epochs']})" if spec.get("select") == "val" and selected else text


def in_common(specs: Sequence[Mapping[str, Any]], started: Sequence[Mapping[str, Any] | None] | None = None) -> str:
    """The conditions that all of these runs share, in words; what differs among them is left out. `started`: as in
    `of_run`, of each; None for runs that have not begun."""
    planned = [_parts(spec, None) for spec in specs]
    begun = [(spec, event) for spec, event in zip(specs, started or [None] * len(specs), strict=True) if event]
    seen = [_parts(spec, event) for spec, event in begun] or planned
    same = [name for name in FIELDS if all(len({parts[name] for parts in some}) == 1 for some in (planned, seen))]
    return ", ".join(seen[0][name] for name in same)


def _resizing(resize: str, image: Size | None, size: Size | None, file_fit: str | None) -> str:
    """`file_fit`: how image files, whose sizes differ, were brought to `image`; None where there are no files."""
    target = "the backbone's size where they have another" if size is None else " x ".join(map(str, size))
    same = image is not None and size is not None and list(image) == list(size)
    known = "one size" if image is None else f"{image[0]} x {image[1]}"
    if file_fit is None:
        images = "images" if image is None else f"{known} images"
        return f"{images} as they are" if same else f"{images} {FITTED[resize]} to {target} (bicubic)"
    again = "" if same else f", then {FITTED[resize]} to {target}"
    return f"images {FITTED[file_fit]} to {known}{again} (bicubic)"


def _file_fit(task: str) -> str | None:
    kind, _, argument = task.partition(":")
    settings = getattr(TASKS.load(kind), "SETTINGS", {}) if kind in TASKS.names() else {}
    return dict(parse_qsl(argument.partition("?")[2])).get("fit", settings["fit"][0]) if "fit" in settings else None


def _augmentation(name: str, symmetries: Collection[str] | None) -> str:
    """`symmetries`: None where they are not known."""
    if name == "none":
        return "no augmentation"
    if name == "light":
        done = [
            change for change in ("shift", "mirror") if change in (SYMMETRIES if symmetries is None else symmetries)
        ]
        where = ", where labels bear them" if symmetries is None else ""
        return f"light augmentation ({' and '.join(done) or 'nothing that keeps these labels'}{where})"
    if symmetries is None:
        return "RandAugment, as far as labels bear it"
    return "RandAugment" + ("" if "warp" in symmetries else " of colour and sharpness alone")


def _symmetries(task: str) -> tuple[str, ...] | None:
    kind = task.partition(":")[0]
    return task_card(kind).symmetries if kind in TASKS.names() else None
