"""What a backbone's own image size costs, and a smaller one that it could be tuned at."""

from __future__ import annotations

from dataclasses import dataclass

from peftcore.backbone import embedded
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.memory import MemoryReport, predict_memory
from peftcore.spec import RunSpec

MANY = 600  # tokens of an image; 24 x 24 patches, of ViT at 384 pixels, are fewer
USUAL = 224  # pixels; proposed is the largest multiple of the patch up to it


@dataclass(frozen=True)
class Smaller:
    """Pixels on a side and tokens of an image: the backbone's own, and those of the size that is proposed."""

    own: int
    tokens: int
    size: int
    fewer: int

    def sentence(self, backbone: str, costs: str = "") -> str:
        """`costs`: what it means in memory, where that is known."""
        return (
            f"{backbone} reads images of {self.own} x {self.own} pixels, {self.tokens:,} tokens each; at {self.size} "
            f"pixels they are {self.fewer:,}{costs}. Positions are resampled."
        )


def smaller(backbone: Backbone) -> Smaller | None:
    """A size that costs less, where the backbone's own has many tokens; it may be on the meta device."""
    _, height, width = backbone.input_size
    rows, columns = backbone.grid
    if height != width or rows * columns <= MANY or backbone.hierarchical:
        return None
    patch = height // rows
    side = USUAL // patch
    prefix = backbone.prefix_tokens
    return Smaller(height, prefix + rows * columns, side * patch, prefix + side**2) if side < rows else None


def at(spec: RunSpec, proposed: Smaller) -> MemoryReport:
    """The bill of the same run at the size that is proposed."""
    return predict_memory(spec, image_size=proposed.size)


def note(spec: RunSpec) -> str:
    """The sentence on the command line, where an image size is proposed; '' elsewhere."""
    if spec.image_size or spec.backbone in embedded.names():
        return ""
    proposed = smaller(load_backbone(spec.backbone, pretrained=False, device="meta"))
    return f"{proposed.sentence(spec.backbone)} Take --image-size {proposed.size}." if proposed else ""
