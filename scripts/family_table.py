"""Method x family: which method trains on which of timm's transformers, found by running every pair.

    python scripts/family_table.py            # writes docs/methods_by_family.md

Each pair is attached to a small random backbone of the family (same modules, fewer and narrower blocks); what it trains
is nudged, and it counts as working if the logits move and every trainable tensor gets a finite gradient. A refusal is
kept as the sentence that a user would read. Parameters are counted at the full size, without weights.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

import peftcore as pc
from peftcore import errors
from peftcore.registry import METHODS

PAGE = Path(__file__).parent.parent / "docs" / "methods_by_family.md"
CLASSES = 10


@dataclass(frozen=True)
class Family:
    """`name`: the smallest architecture that timm has of it. `small`: what to tell timm for a quick one."""

    title: str
    name: str
    small: tuple[tuple[str, object], ...]

    def backbone(self) -> pc.Backbone:
        """Random weights, none of them zero: timm starts Swin V2's norms at zero, which would silence every block."""
        backbone = pc.load_backbone(self.name, pretrained=False, **dict(self.small))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in backbone.module.parameters():
                if not p.any():
                    p.copy_(torch.randn(p.shape, generator=generator) * 0.5)
        return backbone

    def anatomy(self) -> pc.Backbone:
        return pc.load_backbone(self.name, device="meta")


def _plain(size: int, **more) -> tuple[tuple[str, object], ...]:
    return tuple(dict(img_size=size, embed_dim=64, depth=3, num_heads=4, **more).items())


_SWIN = (("img_size", 64), ("window_size", 4), ("embed_dim", 32), ("depths", (2, 2)), ("num_heads", (2, 4)))
FAMILIES = (
    Family("ViT", "vit_tiny_patch16_224", _plain(64)),
    Family("DeiT", "deit_tiny_patch16_224", _plain(64)),
    Family("DeiT III", "deit3_small_patch16_224", _plain(64)),
    Family("DINOv2, registers", "vit_small_patch14_reg4_dinov2", _plain(56)),
    Family("CLIP", "vit_base_patch32_clip_224", _plain(64)),
    Family("SigLIP", "vit_base_patch16_siglip_224", _plain(64)),
    Family("MAE", "vit_base_patch16_224.mae", _plain(64)),
    Family("EVA02", "eva02_tiny_patch14_224", _plain(56)),
    Family("EVA02 base", "eva02_base_patch14_224", _plain(56)),
    Family("BEiT", "beit_base_patch16_224", _plain(64)),
    Family("BEiT v2", "beitv2_base_patch16_224", _plain(64)),
    Family("Swin", "swin_tiny_patch4_window7_224", _SWIN),
    Family("Swin V2", "swinv2_tiny_window8_256", _SWIN),
)


@dataclass(frozen=True)
class Outcome:
    """Either the number of trained parameters at full size, or why the pair is refused."""

    parameters: int | None = None
    refusal: str | None = None


def try_pair(method: pc.Method, backbone: pc.Backbone) -> str | None:
    """None where the method trains on the backbone, else the refusal.

    Raises:
        AssertionError: it was attached, and trains nothing somewhere.
    """
    try:
        model = pc.attach(backbone, method, CLASSES).eval()
    except errors.DoesNotFit as refusal:
        return str(refusal)
    images = torch.randn(2, *backbone.input_size, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    own = {name: p for name, p in model.named_trainable() if not name.startswith("head.")}
    with torch.no_grad():
        start = model(images)
        for p in own.values():
            p.add_(torch.randn(p.shape, generator=generator) * 0.05)
    logits = model(images)
    logits.square().sum().backward()
    where = f"{method.name} on {backbone.name}"
    for name, p in own.items():
        assert p.grad is not None and p.grad.isfinite().all(), f"{where}: {name} gets no gradient"
    assert not own or any(p.grad.any() for p in own.values()), f"{where}: all gradients are zero"
    assert not own or not torch.equal(start, logits), f"{where}: nothing moves"
    return None


def outcome(method: pc.Method, family: Family, backbone: pc.Backbone, anatomy: pc.Backbone) -> Outcome:
    refusal = try_pair(method, backbone)
    if refusal:
        return Outcome(refusal=refusal)
    return Outcome(parameters=pc.attach(anatomy, method, CLASSES).parameter_counts()["method"])


def table() -> dict[tuple[str, str], Outcome]:
    """Outcomes by (method's name, family's title)."""
    made = {}
    for family in FAMILIES:
        backbone, anatomy = family.backbone(), family.anatomy()
        for name in METHODS.names():
            made[name, family.title] = outcome(pc.make_method(name), family, backbone, anatomy)
    return made


def page(made: dict[tuple[str, str], Outcome]) -> str:
    """The table as Markdown, with the refusals' sentences below it."""
    titles = [family.title for family in FAMILIES]
    refusals: list[str] = []
    rows = []
    for name in METHODS.names():
        cells = []
        for title in titles:
            result = made[name, title]
            if result.refusal is None:
                cells.append(f"{result.parameters:,}")
            else:
                refusals.append(f"{len(refusals) + 1}. **{name}, {title}.** {result.refusal}")
                cells.append(f"no ({len(refusals)})")
        rows.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(
        [
            "# Methods by family",
            "",
            "Made by `python scripts/family_table.py`: every method with its default settings (`hf_peft`: LoRA on q,",
            "k and v) on a random backbone of every family. A number means that, once nudged, what the method trains",
            "moves the logits, and that each of its tensors gets a gradient; it is the count of trained parameters at",
            "full size, without the classifier. *no* means that `attach` refuses, with the sentence below.",
            "",
            "| method | " + " | ".join(titles) + " |",
            "|---|" + "---:|" * len(titles),
            *rows,
            "",
            "Architectures: " + "; ".join(f"{f.title} `{f.name}`" for f in FAMILIES) + ".",
            "",
            "## Why not",
            "",
            *refusals,
            "",
        ]
    )


def main() -> None:
    made = table()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(made))
    works = sum(result.refusal is None for result in made.values())
    print(f"{PAGE}: {works} of {len(made)} pairs train, {len(made) - works} are refused with a sentence")


if __name__ == "__main__":
    main()
