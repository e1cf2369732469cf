"""Heart-LoRA on a Swin: a share of each stage's heads."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

PERCENT = (0.0, 25.0, 50.0, 75.0)


def cells() -> Iterator[Cell]:
    for percent in PERCENT:
        spec = tuned("heart_lora", backbone="swin_micro", percent_off=percent, warmup_epochs=1)
        yield Cell("Heart-LoRA on swin_micro", percent, spec)


def answer(found: Found) -> str:
    group = "Heart-LoRA on swin_micro"
    each = [
        found.versus((group, percent), (group, 0.0), (f"{percent:g} % off", "no head off")) for percent in (50.0, 75.0)
    ]
    said = f"{each[0]}; {each[1]}."
    return said[0].upper() + said[1:]


EXPERIMENT = Experiment(
    title="Does the cut work where stages have different numbers of heads?",
    paper="heart_lora",
    asks="On Swin the paper cuts a share of each stage's heads, in its appendix, and stays level with Bi-LoRA."
    " swin_micro's stages have 3, 6 and 12.",
    x="heads off (% of each stage)",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    seeds=(0, 1, 2),
    note="4 epochs of which 1 is the warm-up.",
)
