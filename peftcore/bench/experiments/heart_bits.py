"""Heart-LoRA on Bi-LoRA: bits of a weight, with and without the cut."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

BITS = (1, 4, 32)
WHOLE, CUT = "all heads", "5 of 8 heads off"


def cells() -> Iterator[Cell]:
    for group, off in ((WHOLE, 0), (CUT, 5)):
        for bits in BITS:
            yield Cell(group, bits, tuned("heart_lora", bits=bits, n_off=off, warmup_epochs=1, epochs=3))


def answer(found: Found) -> str:
    each = [
        found.versus((group, 1), (group, 32), ("training with 1 bit", "training with 32 bits"))
        for group in (WHOLE, CUT)
    ]
    return f"With all heads, {each[0]}; with 5 of 8 off, {each[1]}."


EXPERIMENT = Experiment(
    title="Do fewer heads need more bits?",
    paper="heart_lora",
    asks="The paper cuts heads of a Bi-LoRA with 1 bit for each weight. Whether what is left after the cut "
    "suffers more from 1 bit than the whole is not told.",
    x="bits of a weight",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    log="x",
    note="3 epochs of which 1 is the warm-up.",
)
