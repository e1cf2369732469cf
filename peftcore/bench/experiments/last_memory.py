"""LAST's memory beside full fine-tuning and LoRA, predicted by the ledger."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, sized
from peftcore.bench.experiments._found import Found

BATCHES = (8, 16, 32, 64)
METHODS = {"full fine-tuning": "full", "LoRA": "lora", "LAST": "last"}


def cells() -> Iterator[Cell]:
    for title, method in METHODS.items():
        for batch in BATCHES:
            yield Cell(title, batch, sized(method, "vit_base_patch16_224", batch), "peak")


def answer(found: Found) -> str:
    full, lora, last = (found.mean((title, 32)) for title in METHODS)
    return (
        f"At batch 32 a step of LAST on ViT-B/16 peaks at {last:.2f} GB, {100 * last / lora:.0f} % of LoRA's "
        f"{lora:.2f} GB and {100 * last / full:.0f} % of full fine-tuning's {full:.2f} GB."
    )


EXPERIMENT = Experiment(
    title="How much of LoRA's memory does LAST need?",
    paper="last",
    asks="The paper reports 1.33 GB for ViT-B/16 at batch 32, and 30 % of the memory of other methods, as a "
    "GPU's allocator counts. The ledger counts every tensor of a step, weights included.",
    x="images in a batch",
    y="peak of a training step (GB)",
    cells=cells,
    answer=answer,
    measure="memory",
    scale=1e-9,
    seeds=(0,),
)
