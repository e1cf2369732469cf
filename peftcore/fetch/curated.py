"""The backbones that the field uses most: their size, licence and training data, as curated.toml lists them.

Names are timm's with their tag. Reading this imports no torch.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Curated:
    """A backbone with pretrained weights. `trained_on`: the images, then how."""

    name: str
    title: str
    parameters: int
    licence: str
    trained_on: str

    @property
    def bytes(self) -> int:
        """Of the weights, in fp32."""
        return 4 * self.parameters


CURATED: dict[str, Curated] = {
    name: Curated(name, **about)
    for name, about in tomllib.loads(Path(__file__).with_suffix(".toml").read_text()).items()
}
