"""Serial LoRA's weights and memory beside LoRA's across families of backbones, predicted."""

from __future__ import annotations

from collections.abc import Iterator

from peftcore.experiments import Cell, Experiment, sized
from peftcore.experiments._found import Found

BACKBONES = {
    "ViT-B": "vit_base_patch16_224", "DeiT III-B": "deit3_base_patch16_224", "DINOv2-B": "vit_base_patch14_reg4_dinov2",
    "BEiT-B": "beit_base_patch16_224", "EVA-02-B": "eva02_base_patch14_224", "Swin-B": "swin_base_patch4_window7_224",
    "Swin V2-B": "swinv2_base_window8_256",
}  # fmt: skip
ALL = ("q", "k", "v", "proj")


def cells() -> Iterator[Cell]:
    for short, backbone in BACKBONES.items():
        yield Cell("Serial LoRA", short, sized("serial_lora", backbone, 16), "above")
        yield Cell("LoRA on q, k, v, proj", short, sized("lora", backbone, 16, projections=ALL), "above")


def answer(found: Found) -> str:
    shares = {
        short: found.mean(("Serial LoRA", short)) / found.mean(("LoRA on q, k, v, proj", short)) for short in BACKBONES
    }
    least, most = (pick(shares, key=shares.__getitem__) for pick in (min, max))
    said = (
        f"A step of Serial LoRA needs {100 * shares[least]:.0f} % ({least}) to {100 * shares[most]:.0f} % ({most}) of "
        "what LoRA needs above the weights"
    )
    return said + (": a quarter of the trained weights saves little of it." if shares[least] > 0.75 else ".")


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
