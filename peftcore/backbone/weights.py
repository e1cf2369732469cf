"""The record of where a backbone's weights were read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

REMOTE = ("hf-hub:", "hf_hub:", "local-dir:")  # how names begin that say themselves where their weights are


@dataclass(frozen=True)
class Origin:
    """The file that all of a backbone's weights were read from.

    `file`: its name, in older records its path. `sha256`: of the file; of shards,
    of their bytes in the order of their names. `names`: how its names were read where they are not timm's own.
    `left_over`: what it holds besides the backbone, such as a classifier. `resampled`: the tensors that timm fitted to
    another image size.
    """

    file: str
    sha256: str
    names: str = ""
    left_over: list[str] = field(default_factory=list, hash=False)
    resampled: list[str] = field(default_factory=list, hash=False)

    @property
    def sentence(self) -> str:
        """'Weights: model.safetensors (sha256 1f2e3d4c), left over: head.weight, head.bias'."""
        more = {"left over": self.left_over, "resampled": self.resampled}
        words = [f"Weights: {Path(self.file).name} (sha256 {self.sha256[:8]})", *([self.names] if self.names else [])]
        return ", ".join([*words, *(f"{what}: {', '.join(names)}" for what, names in more.items() if names)])


def first_line(error: object) -> str:
    """The first line of an error's text; one that ends in a colon says nothing without the next."""
    lines = str(error).strip().splitlines()
    while len(lines) > 1 and lines[0].rstrip(".").endswith(":"):
        lines[:2] = [f"{lines[0].rstrip('.')} {lines[1].strip()}"]
    return (lines[0][:300] if lines else type(error).__name__).rstrip(".")
