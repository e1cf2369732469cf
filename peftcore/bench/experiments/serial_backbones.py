"""Serial LoRA and LoRA on the two embedded backbones."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

BACKBONES = ("swin_micro", "vit_micro")
ALL = ("q", "k", "v", "proj")


def cells() -> Iterator[Cell]:
    for backbone in BACKBONES:
        yield Cell("Serial LoRA, rank 8", backbone, tuned("serial_lora", backbone=backbone, rank=8))
        for rank in (2, 8):
            spec = tuned("lora", backbone=backbone, projections=ALL, rank=rank, alpha=float(rank))
            yield Cell(f"LoRA, rank {rank}", backbone, spec)


def answer(found: Found) -> str:
    each = [
        f"on {backbone}, "
        + found.versus(("Serial LoRA, rank 8", backbone), ("LoRA, rank 2", backbone), ("Serial LoRA", "LoRA"))
        for backbone in BACKBONES
    ]
    return f"With as many weights, {'; '.join(each)}."


EXPERIMENT = Experiment(
    title="Does Serial LoRA's standing depend on the backbone?",
    paper="serial_lora",
    asks="The paper spans classification, segmentation and generation. Windows and stages change what "
    "attention reads; a shared pair may fit one family better than another.",
    x="backbone",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    note="4 epochs; LoRA on q, k, v and proj, at rank 2 with as many weights as Serial LoRA at rank 8.",
)
