"""Method x family: which method trains on which of timm's transformers, found by running every pair.

    python scripts/family_table.py            # runs what is missing: the pairs of a new method or family
    python scripts/family_table.py last lora  # runs the pairs of these methods again
    python scripts/family_table.py --all      # runs every pair again: about four minutes on two cores

Results are kept in docs/methods_by_family.json and shown in docs/methods_by_family.md.

Each method is attached to a small random backbone of the family (same modules, fewer and narrower blocks), and what it
trains is nudged. It counts as working if the logits move and every trainable tensor gets a finite gradient. A refusal
is kept as the sentence that a user would read. Parameters are counted at the full size, without weights.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

import peftcore as pc
from peftcore import errors
from peftcore.registry import METHODS

PAGE = Path(__file__).parent.parent / "docs" / "methods_by_family.md"
DATA = PAGE.with_suffix(".json")
CLASSES = 10


@dataclass(frozen=True)
class Family:
    """`name`: timm's smallest architecture of the family. `small`: timm's arguments for a quick one."""

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


def _plain(size: int) -> tuple[tuple[str, object], ...]:
    return tuple(dict(img_size=size, embed_dim=64, depth=3, num_heads=4).items())


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


# Method's name -> family's title -> the number of trained parameters at full size, or the sentence of refusal.
Cells = dict[str, dict[str, int | str]]


def try_pair(method: pc.Method, backbone: pc.Backbone) -> str | None:
    """None where the method trains on the backbone, else the refusal.

    Raises:
        AssertionError: it was attached, but some part of it does not train.
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


def cell(method: pc.Method, backbone: pc.Backbone, anatomy: pc.Backbone) -> int | str:
    return try_pair(method, backbone) or pc.attach(anatomy, method, CLASSES).parameter_counts()["method"]


def kept() -> Cells:
    return json.loads(DATA.read_text()) if DATA.exists() else {}


def filled(known: Cells, again: Iterable[str] = ()) -> Cells:
    """`known` with missing pairs run, and those of the methods in `again` run anew; without methods that are gone."""
    again, cells = set(again), {name: dict(known.get(name, {})) for name in METHODS.names()}
    for family in FAMILIES:
        wanted = [name for name in cells if name in again or family.title not in cells[name]]
        if wanted:
            backbone, anatomy = family.backbone(), family.anatomy()
            for name in wanted:
                cells[name][family.title] = cell(pc.make_method(name), backbone, anatomy)
                print(f"{name} on {family.title}: {cells[name][family.title]}")
    titles = [family.title for family in FAMILIES]
    return {name: {title: row[title] for title in titles} for name, row in cells.items()}


def page(cells: Cells) -> str:
    """The table as Markdown, with the refusals' sentences below it."""
    titles = [family.title for family in FAMILIES]
    refusals: list[str] = []
    rows = []
    for name, row in cells.items():
        shown = []
        for title in titles:
            if isinstance(row[title], int):
                shown.append(f"{row[title]:,}")
            else:
                refusals.append(f"{len(refusals) + 1}. **{name}, {title}.** {row[title]}")
                shown.append(f"no ({len(refusals)})")
        rows.append(f"| `{name}` | " + " | ".join(shown) + " |")
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
    again = METHODS.names() if "--all" in sys.argv else sys.argv[1:]
    for name in again:
        METHODS.facts(name)  # an unknown name is an error
    cells = filled(kept(), again)
    DATA.write_text(json.dumps(cells, indent=1) + "\n")
    PAGE.write_text(page(cells))
    found = [value for row in cells.values() for value in row.values()]
    works = sum(isinstance(value, int) for value in found)
    print(f"{PAGE}: {works} of {len(found)} pairs train, {len(found) - works} are refused with a sentence")


if __name__ == "__main__":
    main()
