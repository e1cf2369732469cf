"""Recipes: what is known to work best for a method on a backbone, and the evidence. No torch.

assets/recipes.json has one object for each pair that was measured. values: fields of RunSpec, and under "method"
settings of the method where they are not its defaults. evidence: `tried`, a row for each recipe with the mean accuracy
on validation images `val` (a share, None where runs diverged or were stopped early) over `seeds`; `on`, `weights` (a
digest), `command`. `python -m peftcore bench recipes` writes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median_low
from typing import Any

from peftcore.backbone import embedded
from peftcore.registry import METHODS
from peftcore.spec import RunSpec

FILE = Path(__file__).resolve().parents[2] / "assets" / "recipes.json"
NUMBERS = ("lr", "epochs")  # what every recipe of a search has; the rest departs from a method as published


@dataclass(frozen=True)
class Recipe:
    """A recipe for a method on a backbone, and the measured ones that it comes from (none: the default).

    values: fields of RunSpec, and under "method" settings of the method. lr: the best rate of the method as published,
    with no option of the recipe's.
    """

    method: str
    backbone: str
    values: Mapping[str, Any]
    lr: float
    evidence: tuple[Mapping[str, Any], ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the method that it changes."""
        return dict(self.values.get("method", {}))

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of RunSpec, without the method."""
        return {name: value for name, value in self.values.items() if name != "method"}

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
        source += f" on {self.evidence[0]['backbone']}"
        weights = self.evidence[0]["evidence"].get("weights")
        if weights and weights != weights_digest(self.evidence[0]["backbone"]):
            source += " with earlier weights"
        if self.measured:
            return f"best of {len(self.evidence[0]['evidence']['tried'])} tried with {source}"
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

    Where it was not measured: that of the same method on the other embedded backbone, if both are small embedded ones;
    else the middle rate of its kind's methods as published, on this backbone or, likewise, on the other. Else RunSpec's
    own default. Raises UnknownName.
    """
    entries = sorted(recorded(), key=lambda entry: entry["backbone"] != backbone)
    if backbone not in embedded.names():
        entries = [entry for entry in entries if entry["backbone"] == backbone]
    of_its_kind = METHODS.names(kind=METHODS.facts(method).kind, baseline="")
    if same := [entry for entry in entries if entry["method"] == method]:
        return Recipe(method, backbone, same[0]["values"], _published(same[0]), tuple(same[:1]))
    if alike := [entry for entry in entries if entry["method"] in of_its_kind]:
        alike = [entry for entry in alike if entry["backbone"] == alike[0]["backbone"]]
        values = {"lr": median_low(map(_published, alike))}
        if all("epochs" in entry["values"] for entry in alike):
            values["epochs"] = median_low(entry["values"]["epochs"] for entry in alike)
        return Recipe(method, backbone, values, values["lr"], tuple(alike))
    lr = RunSpec.model_fields["lr"].default
    return Recipe(method, backbone, {"lr": lr}, lr)


def _published(entry: Mapping[str, Any]) -> float:
    """The best rate that was tried with the method as published, over as many seeds as any."""
    of_ours = set(entry["values"]) - set(NUMBERS)
    if not of_ours:
        return entry["values"]["lr"]
    tried = [row for row in entry["evidence"]["tried"] if row["val"] is not None and not of_ours & set(row)]
    return max(tried, key=lambda row: (len(row["seeds"]), row["val"]), default=entry["values"])["lr"]


def with_its_own(spec: RunSpec, given: Collection[str] = ()) -> RunSpec:
    """The spec with the recipe of its method and backbone, but for the fields and settings that were `given`."""
    recipe = best(spec.method.name, spec.backbone)
    settings = {name: value for name, value in recipe.settings.items() if name not in given}
    fields = {name: value for name, value in recipe.fields.items() if name not in given}
    return spec.replace(method=spec.method.replace(**settings), **fields)


def at_its_rate(spec: RunSpec) -> RunSpec:
    """The spec as it is, with the best rate of its method as published: as methods are raced against each other."""
    return spec.replace(lr=best(spec.method.name, spec.backbone).lr)
