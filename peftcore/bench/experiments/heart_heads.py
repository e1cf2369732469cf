"""Heart-LoRA: how many heads can be switched off, by one set for all blocks or one for each."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

OFF = (0, 3, 5, 7)
SCOPES = {"one set for all blocks": "global", "a set for each block": "layer"}


def cells() -> Iterator[Cell]:
    for group, scope in SCOPES.items():
        for off in OFF:
            kept = scope if off else "global"  # with no head off they are one run
            yield Cell(group, off, tuned("heart_lora", n_off=off, scope=kept, warmup_epochs=1))


def answer(found: Found) -> str:
    one, each = SCOPES
    most = max(off for off in OFF if min(found.differences((one, off), (one, 0))) > -1 or off == 0)
    half = found.versus((one, 5), (each, 5), (one, each))
    lost = found.versus((one, 7), (one, 0), ("7 of 8 heads off", "none off"))
    sure = (
        f"Up to {most} of 8 heads go for less than a point in every seed" if most else "Every cut costs a point or more"
    )
    return f"{sure}; {lost}. At 5 off, {half}."


EXPERIMENT = Experiment(
    title="How many heads can lose their update?",
    paper="heart_lora",
    asks="The paper switches off 5 of 12 heads, by one set for all blocks, or as a variant by one for each. "
    "How far it goes, and whether blocks need sets of their own, depends on the backbone.",
    x="heads off, of 8 in each block",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    note="4 epochs of which 1 is the warm-up, where the paper trains 100 with 10. One head always stays.",
)
