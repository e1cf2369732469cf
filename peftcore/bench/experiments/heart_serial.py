"""Heart-LoRA beside Serial LoRA and LoRA, with as many stored weights."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

# Weights of vit_micro (8 blocks, width 128): LoRA on q and v 4,096 a rank, Serial LoRA 2,048, Heart-LoRA with half of
# the heads off 3,072.
SIZES = {12_288: 1, 24_576: 2}


def cells() -> Iterator[Cell]:
    for size, half in SIZES.items():
        heart = tuned("heart_lora", base="lora", rank=4 * half, n_off=4, warmup_epochs=1, epochs=3)
        yield Cell("LoRA", size, tuned("lora", rank=3 * half, alpha=3.0 * half, epochs=3))
        yield Cell("Serial LoRA", size, tuned("serial_lora", rank=6 * half, epochs=3))
        yield Cell("Heart-LoRA", size, heart)


def answer(found: Found) -> str:
    size = max(SIZES)
    heart = ("Heart-LoRA", size)
    each = [found.versus(heart, (other, size), ("Heart-LoRA", other)) for other in ("Serial LoRA", "LoRA")]
    return f"With {size:,} stored weights, {'; '.join(each)}."


EXPERIMENT = Experiment(
    title="Cut heads, or share one pair: what is the better way to store less?",
    paper="heart_lora",
    asks="Two ways to a smaller file. They cannot be joined as they are: Serial LoRA's pair works on what all "
    "heads read, so no row of it belongs to a head.",
    x="stored weights",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    note="3 epochs; Heart-LoRA on plain LoRA with 4 of 8 heads off after 1 epoch.",
)
