"""Serial LoRA against LoRA of equal parameters, and of equal rank."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

ALL = ("q", "k", "v", "proj")
# Of vit_micro: 2,048 weights a rank for Serial LoRA, 4,096 for LoRA on q and v, 8,192 on all four.
LORAS = {"on q, v": (("q", "v"), 4), "on q, k, v, proj": (ALL, 2)}


def cells() -> Iterator[Cell]:
    for words, (projections, rank) in LORAS.items():
        yield Cell("Serial LoRA", words, tuned("serial_lora", rank=8))  # one run, drawn beside both
        equal = tuned("lora", projections=projections, rank=rank, alpha=float(rank))
        yield Cell("LoRA, equal weights", words, equal)
        yield Cell("LoRA, equal rank", words, tuned("lora", projections=projections, rank=8, alpha=8.0))


def answer(found: Found) -> str:
    on = "on q, k, v, proj"
    serial = ("Serial LoRA", on)
    each = [
        found.versus(serial, (group, on), ("Serial LoRA", f"LoRA of {words}"))
        for group, words in (("LoRA, equal weights", "as many weights"), ("LoRA, equal rank", "four times the weights"))
    ]
    return f"{each[0]}; {each[1]}."


EXPERIMENT = Experiment(
    title="Is a quarter of LoRA's weights as good as LoRA?",
    paper="serial_lora",
    asks="“A quarter of the weights” compares equal ranks on q, k, v and proj. A LoRA of a quarter of the rank"
    " has as few; the fair question has both.",
    x="adapted projections",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    note="4 epochs, rank 8 for Serial LoRA; every LoRA has scale 1.",
)
