"""Recipes: the learning rate known to work best for a method on a backbone, and the evidence. No torch.

assets/recipes.json has one object for each pair that was measured: method, backbone, values (fields of RunSpec) and
evidence: `rates`, {lr: {"val", "test"}} as shares, `on`, `epochs`, `seeds`, `command`. scripts/gather_recipes.py writes
it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median_low
from typing import Any

from peftcore.backbone import embedded
from peftcore.registry import METHODS
from peftcore.spec import RunSpec

FILE = Path(__file__).resolve().parents[2] / "assets" / "recipes.json"


@dataclass(frozen=True)
class Recipe:
    """Fields of RunSpec for a method on a backbone, and the measured recipes they come from (none: the default)."""

    method: str
    backbone: str
    values: Mapping[str, Any]
    evidence: tuple[Mapping[str, Any], ...] = ()

    @property
    def measured(self) -> bool:
        """Whether this method was measured on this backbone."""
        return [(e["method"], e["backbone"]) for e in self.evidence] == [(self.method, self.backbone)]

    @property
    def basis(self) -> str:
        """'best of 3 tried with LoRA on vit_micro'; 'not measured for SSF; from LoRA and Serial LoRA on vit_micro'."""
        if not self.evidence:
            return f"nothing was measured on {self.backbone}; {self.values['lr']:g} is the general default"
        titles = [METHODS.facts(entry["method"]).title for entry in self.evidence]
        source = " and ".join(part for part in (", ".join(titles[:-1]), titles[-1]) if part)
        source += f" on {self.evidence[0]['backbone']}"
        if self.measured:
            return f"best of {len(self.evidence[0]['evidence']['rates'])} tried with {source}"
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

    Where it was not measured: that of the same method, else the middle one of its kind's methods, on this backbone,
    or, if both are small embedded ones, on another. Else RunSpec's own default. Raises UnknownName.
    """
    here = [entry for entry in recorded() if entry["backbone"] == backbone]
    if not here and backbone in embedded.names():
        first = next(iter(recorded()), {"backbone": ""})["backbone"]
        here = [entry for entry in recorded() if entry["backbone"] == first]
    same = [entry for entry in here if entry["method"] == method]
    of_its_kind = METHODS.names(kind=METHODS.facts(method).kind, baseline="")
    alike = [entry for entry in here if entry["method"] in of_its_kind]
    if not (found := same or alike):
        return Recipe(method, backbone, {"lr": RunSpec.model_fields["lr"].default})
    return Recipe(method, backbone, {"lr": median_low(entry["values"]["lr"] for entry in found)}, tuple(found))


def with_its_own(spec: RunSpec) -> RunSpec:
    """The spec with the learning rate that is best known for its method and backbone."""
    return spec.replace(lr=best(spec.method.name, spec.backbone).values["lr"])
