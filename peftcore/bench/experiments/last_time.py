"""LAST's time of a step beside LoRA's and full fine-tuning's, on this machine."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment
from peftcore.bench.experiments._found import Found
from peftcore.spec import RunSpec

BACKBONES = {"swin_micro": 32, "vit_micro": 32, "vit_small_patch16_224": 4}  # and images in a batch
CACHED, WHOLE = "LAST, features cached", "LAST, forward in every step"


def cells() -> Iterator[Cell]:
    for backbone, batch in BACKBONES.items():
        for title, method, value in (
            ("full fine-tuning", "full", "ratio"), (WHOLE, "last", "whole"), (CACHED, "last", "ratio"),
        ):  # fmt: skip
            spec = RunSpec(backbone=backbone, pretrained=False, method=method, batch_size=batch, device="cpu")
            yield Cell(title, backbone, spec, value)


def answer(found: Found) -> str:
    largest = tuple(BACKBONES)[-1]
    whole, cached, full = (found.mean((title, largest)) for title in (WHOLE, CACHED, "full fine-tuning"))
    return (
        f"On {largest} a step of LAST takes {100 * whole:.0f} % of the CPU time of LoRA's, and {100 * cached:.0f} % "
        f"once its features are cached; full fine-tuning takes {100 * full:.0f} %."
    )


EXPERIMENT = Experiment(
    title="How much of LoRA's time does a step of LAST take?",
    paper="last",
    asks="The paper reports 60 % of the training time of other methods on a GPU. On a processor, and with "
    "features that are computed once, it is another share.",
    x="backbone",
    y="CPU time of a step, as a multiple of LoRA's",
    cells=cells,
    answer=answer,
    measure="time",
    scale=1.0,
    seeds=(0, 1, 2),
    note="Each step is timed in turns with one of LoRA on the same batch; a seed is one such measurement.",
)
