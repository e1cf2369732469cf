"""Recipes: what is known to work best for a method on a backbone, and the evidence. No torch.

assets/recipes.json has one object for each pair that was measured. values: fields of RunSpec, and under "method"
settings of the method where they are not its defaults. evidence: `tried`, a row for each recipe with the mean accuracy
on validation images `val` (a share, None where runs diverged or were stopped early) over `seeds`; `on`, `weights` (a
digest), `command`. `python -m peftcore bench recipes` writes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import floor, inf, log10
from pathlib import Path
from statistics import median_low
from typing import Any

from peftcore import errors
from peftcore.backbone import embedded
from peftcore.registry import METHODS
from peftcore.spec import RunSpec

FILE = Path(__file__).resolve().parents[2] / "assets" / "recipes.json"
REACHED = ("seeds", "val")  # of a row of evidence; the rest is a recipe
NUMBERS = ("lr", "epochs")  # what every recipe of a search has; the rest departs from a method as published

WIDTHS = {  # by timm's words for sizes
    "tiny": 192, "wee": 256, "dwee": 256, "xsmall": 256, "little": 320, "dlittle": 320, "small": 384, "medium": 512,
    "mediumd": 512, "betwixt": 640, "base": 768, "so150m2": 832, "so150m": 896, "large": 1024, "large2": 1024,
    "intern300m": 1024, "so400m": 1152, "xlarge": 1152, "huge": 1280, "giant": 1408, "giantopt": 1536, "gigantic": 1664,
    "enormous": 1792, "1b": 2048, "5b": 2432, "3b": 3072, "7b": 4096,
}  # fmt: skip
SWIN_WIDTHS = {"tiny": 768, "small": 768, "base": 1024, "large": 1536}
UNLIKE = {  # beginnings of names whose word says another width than elsewhere
    "vit_giant_patch14_dinov2": 1536, "vit_giant_patch14_reg": 1536, "vit_giant_patch16_lingbot": 1536,
    "vit_giant_patch16_sapiens2": 1536, "vit_giant_patch16_radio": 1536, "vit_pe_core_gigantic": 1536,
    "vit_pe_lang_gigantic": 1536, "vit_pe_spatial_gigantic": 1536, "aimv2_huge": 1536, "swin_s3_base": 768,
    "vit_base_patch16_plus": 896, "vit_base_patch32_plus": 896, "vit_relpos_base_patch16_plus": 896,
    "vit_relpos_base_patch32_plus": 896, "vit_small_resnet": 768,
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A recipe for a method on a backbone, and the measured ones that it comes from (none: the default).

    values: fields of RunSpec, and under "method" settings of the method. lr: the best rate of the method as published,
    with no option of the recipe's. narrower: how many times wider this backbone is than the one that was measured, by
    which its rates were lowered; 1 where they were not. published: whether it is that of the method as published, of
    which the evidence has more.
    """

    method: str
    backbone: str
    values: Mapping[str, Any]
    lr: float
    evidence: tuple[Mapping[str, Any], ...] = ()
    narrower: float = 1.0
    published: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the method that it changes."""
        return dict(self.values.get("method", {}))

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of RunSpec, without the method."""
        return {name: value for name, value in self.values.items() if name != "method"}

    def suiting(self, settings: Mapping[str, Any]) -> Recipe:
        """This one, or where a setting of the method is another than it says, that of the method as published."""
        is_whole = all(settings.get(name, value) == value for name, value in self.settings.items())
        return self if is_whole else self.as_published()

    def as_published(self) -> Recipe:
        """Without what departs from the method as published, at the rate that was best for that."""
        kept = {name: value for name, value in self.values.items() if name in NUMBERS}
        return replace(self, values={**kept, "lr": self.lr}, published=True)

    @property
    def measured(self) -> bool:
        """Whether this method was measured on this backbone."""
        return [(e["method"], e["backbone"]) for e in self.evidence] == [(self.method, self.backbone)]

    @property
    def basis(self) -> str:
        """'best of 3 tried with LoRA on vit_micro'; 'not measured for SSF; from LoRA and Serial LoRA on vit_micro'."""
        if not self.evidence:
            return f"nothing was measured on {self.backbone}; {self.lr:g} is the general default"
        titles = [METHODS.facts(entry["method"]).title for entry in self.evidence]
        source = " and ".join(part for part in (", ".join(titles[:-1]), titles[-1]) if part)
        there = self.evidence[0]["backbone"]
        source += f" on {there}"
        weights = self.evidence[0]["evidence"].get("weights")
        if weights and weights != weights_digest(self.evidence[0]["backbone"]):
            source += " with earlier weights"
        if of_what := self.evidence[0]["evidence"].get("of"):
            source += f" ({of_what})"
        if self.narrower != 1:
            source += f", at a rate lowered for a backbone {self.narrower:.3g} times as wide"
        elif self.backbone not in (*embedded.names(), there) and width(self.backbone) is None:
            source += ", at its rate as it is: how wide this backbone is, its name does not say"
        if self.measured:
            most = self.values.get("epochs", inf)  # more epochs may have won, and not be the recipe's
            tried = [row for row in self.evidence[0]["evidence"]["tried"] if row.get("epochs", 0) <= most]
            if self.published and len(plain := _plain(self.evidence[0])) < len(tried):
                return f"best of {len(plain)} tried as published with {source}"
            return f"best of {len(tried)} tried with {source}"
        gaps = [f"for {METHODS.facts(self.method).title}"] * (self.method not in (e["method"] for e in self.evidence))
        gaps += [f"on {self.backbone}"] * (self.backbone != self.evidence[0]["backbone"])
        return f"not measured {' '.join(gaps)}; from {source}"


@cache
def weights_digest(backbone: str) -> str:
    """SHA-256 of an embedded backbone's weights; empty for any other backbone."""
    if backbone not in embedded.names():
        return ""
    with embedded.weights(backbone).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def recorded() -> tuple[Mapping[str, Any], ...]:
    """The contents of assets/recipes.json."""
    return tuple(json.loads(FILE.read_text()))


def best(method: str, backbone: str) -> Recipe:
    """The recipe for a method on a backbone.

    Where it was not measured: that of the same method on another backbone, an embedded one for an embedded one, for
    all others one of those; else the middle rate of its kind's methods as published, on this backbone or, likewise, on
    another. Else RunSpec's own default. For a wider backbone than the measured one rates are lowered: see `_narrowed`.
    Raises UnknownName.
    """
    small = embedded.names()
    entries = sorted(recorded(), key=lambda entry: entry["backbone"] != backbone)
    entries = [entry for entry in entries if (entry["backbone"] in small) == (backbone in small)]
    return _narrowed(_nearest(method, backbone, entries))


def _nearest(method: str, backbone: str, entries: list[Mapping[str, Any]]) -> Recipe:
    """From entries, those of this backbone first."""
    of_its_kind = METHODS.names(kind=METHODS.facts(method).kind, baseline="")
    if same := [entry for entry in entries if entry["method"] == method]:
        return Recipe(method, backbone, same[0]["values"], _published(same[0]), tuple(same[:1]))
    alike = [entry for entry in entries if entry["method"] in of_its_kind]
    if alike and not METHODS.facts(method).baseline:  # full fine-tuning wants another rate than what trains little
        alike = [entry for entry in alike if entry["backbone"] == alike[0]["backbone"]]
        values = {"lr": median_low(map(_published, alike))}
        if all("epochs" in entry["values"] for entry in alike):
            values["epochs"] = median_low(entry["values"]["epochs"] for entry in alike)
        return Recipe(method, backbone, values, values["lr"], tuple(alike))
    lr = RunSpec.model_fields["lr"].default
    return Recipe(method, backbone, {"lr": lr}, lr)


def width(backbone: str) -> int | None:
    """Channels of a block, the last one's in a Swin, by timm's names for sizes; None for a name without one."""
    name = backbone.rpartition("/")[2].partition(".")[0]
    sizes = SWIN_WIDTHS if "swin" in name else WIDTHS
    words = (sizes[word] for word in name.split("_") if word in sizes)
    return next((size for start, size in UNLIKE.items() if name.startswith(start)), next(words, None))


def _narrowed(recipe: Recipe) -> Recipe:
    """The recipe for a wider backbone than the one that it comes from: AdamW's best rate falls as one over the width
    (Yang et al., Tensor Programs V, arXiv 2203.03466), down to the next one of the ladder on which rates are searched
    [ours]."""
    if not recipe.evidence or recipe.backbone in embedded.names():
        return recipe
    there, here = width(recipe.evidence[0]["backbone"]), width(recipe.backbone)
    if there is None or here is None or here <= there:
        return recipe
    lower = {"lr": _on_the_ladder(recipe.values["lr"] * there / here)}
    return replace(recipe, values={**recipe.values, **lower}, lr=_on_the_ladder(recipe.lr * there / here),
                   narrower=here / there)  # fmt: skip


def _on_the_ladder(rate: float) -> float:
    """The largest of 1, 3, 10, 30, ... times a power of ten that is no larger."""
    power = 10.0 ** floor(log10(rate * (1 + 1e-9)))
    return float(f"{3 * power if 3 * power <= rate * (1 + 1e-9) else power:.0e}")


def of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a row of evidence, without what it reached."""
    return {name: value for name, value in row.items() if name not in REACHED}


def _published(entry: Mapping[str, Any]) -> float:
    """The best rate that was tried with the method as published, over as many seeds as any."""
    if set(entry["values"]) <= set(NUMBERS):
        return entry["values"]["lr"]
    tried = [row for row in _plain(entry) if row["val"] is not None]
    return max(tried, key=lambda row: (len(row["seeds"]), row["val"]), default=entry["values"])["lr"]


def _plain(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was tried of the method as published."""
    of_ours = set(entry["values"]) - set(NUMBERS)
    return [row for row in entry["evidence"]["tried"] if not of_ours & set(row)]


def with_recipe(spec: RunSpec, given: str | Collection[str] = ()) -> RunSpec:
    """The spec, or dict of its fields, with the recipe of its method and backbone, but for the fields and settings that
    were `given`; with that of the method as published where a setting that was given is not the recipe's.

    Raises UnknownName: no such method is registered, or a name that was `given` is no field and no setting of it;
    InvalidSetting: `spec` is neither a RunSpec nor such a dict.
    """
    spec = RunSpec.of(spec)
    known = {*RunSpec.model_fields, *spec.method.settings()}
    given = {given} if isinstance(given, str) else {*given}
    for name in sorted(given - known):
        raise errors.unknown("field of a run or setting of its method called", name, known)
    chosen = {name: value for name, value in spec.method.settings().items() if name in given}
    recipe = best(spec.method.name, spec.backbone).suiting(chosen)
    settings = {name: value for name, value in recipe.settings.items() if name not in given}
    fields = {name: value for name, value in recipe.fields.items() if name not in given}
    return spec.replace(method=spec.method.replace(**settings), **fields)


def recipe_of(spec: RunSpec) -> Recipe:
    """The recipe of a spec's method as it is set."""
    return best(spec.method.name, spec.backbone).suiting(spec.method.settings())


def unmeasured(pairs: Iterable[tuple[str, str]]) -> str:
    """A sentence for each pair of method and backbone whose recipe comes from others, after a blank; '' of none."""
    lacking = [recipe for pair in dict.fromkeys(pairs) if not (recipe := best(*pair)).measured]
    said = []
    for one in lacking:
        title = METHODS.facts(one.method).title
        taken = one.basis.removeprefix(f"not measured for {title}; ")
        said.append(f" {title} has no recipe of its own on {one.backbone} ({taken}).")
    return "".join(said)


def at_its_rate(spec: RunSpec) -> RunSpec:
    """The spec as it is, with the best rate of its method as published: as methods are raced against each other."""
    return spec.replace(lr=best(spec.method.name, spec.backbone).lr)
