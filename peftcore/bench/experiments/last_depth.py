"""Where LAST's gain ends: ever larger backbones, predicted."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, sized
from peftcore.bench.experiments._found import Found

BACKBONES = {
    "ViT-S": "vit_small_patch16_224", "ViT-B": "vit_base_patch16_224", "ViT-L": "vit_large_patch16_224",
    "ViT-H": "vit_huge_patch14_224", "ViT-g": "vit_giant_patch14_224", "ViT-G": "vit_gigantic_patch14_224",
    "DINOv3 7B": "vit_7b_patch16_dinov3",
}  # fmt: skip
METHODS = {"LoRA": "lora", "LAST": "last"}


def cells() -> Iterator[Cell]:
    for title, method in METHODS.items():
        for short, backbone in BACKBONES.items():
            yield Cell(title, short, sized(method, backbone), "peak")
    for short, backbone in BACKBONES.items():
        yield Cell("the frozen weights alone", short, sized("last", backbone), "frozen_weights")


def answer(found: Found) -> str:
    gains = {short: found.mean(("LoRA", short)) / found.mean(("LAST", short)) for short in BACKBONES}
    most, last = max(gains, key=gains.__getitem__), tuple(gains)[-1]
    weights = found.mean(("the frozen weights alone", last)) / found.mean(("LAST", last))
    return (
        f"LoRA's peak is {gains[most]:.1f} times LAST's on {most}, where the gain is largest, and {gains[last]:.1f} "
        f"times on {last}: there {100 * weights:.0f} % of what LAST needs are the frozen weights, which both must hold."
    )


EXPERIMENT = Experiment(
    title="Where does LAST's gain in memory end?",
    paper="last",
    asks="The paper goes up to ViT-g, 1.2 billion weights, on one GPU. Beyond that the frozen weights "
    "themselves fill the card, and a side network saves nothing of them.",
    x="backbone",
    y="peak of a training step, batch 32 (GB)",
    cells=cells,
    answer=answer,
    measure="memory",
    scale=1e-9,
    seeds=(0,),
    log="y",
)
