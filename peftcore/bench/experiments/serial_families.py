"""Serial LoRA's weights and memory beside LoRA's across families of backbones, predicted."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.bench.experiments import Cell, Experiment, sized
from peftcore.bench.experiments._found import Found

BACKBONES = {
    "ViT-B": "vit_base_patch16_224", "DeiT III-B": "deit3_base_patch16_224", "DINOv2-B": "vit_base_patch14_reg4_dinov2",
    "Swin-B": "swin_base_patch4_window7_224", "BEiT-B": "beit_base_patch16_224", "EVA-02-B": "eva02_base_patch14_224",
    "Swin V2-B": "swinv2_base_window8_256",
}  # fmt: skip
CLOSED = ("BEiT-B", "EVA-02-B", "Swin V2-B")  # read the weight of qkv past any adapter on it: no LoRA on q, k or v
SERIAL, LORA, ALL = "Serial LoRA", "LoRA on q, k, v, proj", ("q", "k", "v", "proj")


def cells() -> Iterator[Cell]:
    for short, backbone in BACKBONES.items():
        yield Cell(SERIAL, short, sized("serial_lora", backbone, 16), "above")
        if short not in CLOSED:
            yield Cell(LORA, short, sized("lora", backbone, 16, projections=ALL), "above")


def answer(found: Found) -> str:
    both = [short for short in BACKBONES if short not in CLOSED]
    shares = {short: 100 * found.mean((SERIAL, short)) / found.mean((LORA, short)) for short in both}
    least, most = (pick(shares, key=shares.__getitem__) for pick in (min, max))
    closed = [found.mean((SERIAL, short)) for short in CLOSED]
    return (
        f"Serial LoRA's step needs {shares[least]:.0f} % ({least}) to {shares[most]:.0f} % ({most}) of what LoRA's "
        f"needs above the weights. On {', '.join(CLOSED[:-1])} and {CLOSED[-1]}, where no LoRA on q, k and v can run, "
        f"it needs {min(closed):.1f} to {max(closed):.1f} GB."
    )


EXPERIMENT = Experiment(
    title="What does a quarter of the weights save of a step's memory, family by family?",
    paper="serial_lora",
    asks="The paper counts trained weights. What a step must keep for the backward pass depends on the "
    "backbone, and on which frozen layers gradients travel through.",
    x="backbone",
    y="bytes above the weights, batch 16 (GB)",
    cells=cells,
    answer=answer,
    measure="memory",
    scale=1e-9,
    seeds=(0,),
)
