"""Heart-LoRA and LoRA with 1 to 16 images of each class."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, tuned
from peftcore.bench.experiments._found import Found

SHOTS = (1, 2, 4, 8, 16)


def cells() -> Iterator[Cell]:
    for shots in SHOTS:
        task = f"few:digits?shots={shots}&seed=0"
        yield Cell("LoRA", shots, tuned("lora", task=task, epochs=20))
        yield Cell("Heart-LoRA", shots, tuned("heart_lora", task=task, epochs=20, n_off=5))


def answer(found: Found) -> str:
    each = [
        found.versus(("Heart-LoRA", shots), ("LoRA", shots), ("Heart-LoRA", "LoRA")) for shots in (SHOTS[0], SHOTS[-1])
    ]
    return f"With 1 image of each class, {each[0]}; with 16, {each[1]}."


EXPERIMENT = Experiment(
    title="Does the cut help where there is little to learn from?",
    paper="heart_lora",
    asks="Fewer weights might overfit less. The paper reports few-shot tasks in fine-grained recognition; here"
    " it is digits, with 1 to 16 images of each.",
    x="training images of each class",
    y="test accuracy (%)",
    cells=cells,
    answer=answer,
    log="x",
    note="20 epochs; a seed draws the training images as well.",
)
