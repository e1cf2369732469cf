"""Step time and memory of every method beside Hugging Face PEFT's LoRA on the same model, as ratios in one run."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from peftcore import errors
from peftcore.cli.output import JSON, answer, console, names_of
from peftcore.registry import METHODS


def measure(
    backbone: str = "vit_small_patch16_224",
    batch_size: int = 8,
    methods: Iterable[str] = (),
    repeats: int = 5,
    device: str = "auto",
    precision: str = "fp32",
    compile: bool = False,
) -> Iterator[dict[str, Any]]:
    """Seconds of a training step (median) and peak bytes above the weights, as ratios to Hugging Face PEFT's LoRA on
    the same model in the same run. Every measurement of a method is paired with one of the peer right before it."""
    import torch

    from peftcore.backbone.load import load_backbone
    from peftcore.bench._stepper import Stepper, peer_of
    from peftcore.methods import make_method
    from peftcore.model import attach
    from peftcore.train.recipe import choose_device

    place = choose_device(device)
    shared = load_backbone(backbone, pretrained=False).to(place)
    images = torch.randn(batch_size, *shared.input_size, device=place)
    labels = torch.arange(batch_size, device=place) % 10
    peer = Stepper(peer_of(shared), images, labels, precision)
    for name, variant in cases(methods, compile):
        try:
            model = attach(shared, make_method(name), 10)
        except errors.DoesNotFit as why:
            yield {"method": name, "refused": str(why)}
            continue
        stepper = Stepper(model, images, labels, precision, variant)
        pairs = [(peer.seconds(), stepper.seconds()) for _ in range(repeats)]
        ratio = statistics.median(own / other for other, own in pairs)
        yield {
            "method": ", ".join(filter(None, (model.method.title, variant))),
            "seconds": statistics.median(own for _, own in pairs),
            "time / peer": ratio,
            "bytes above weights": (own := stepper.above_weights()),
            "memory / peer": own / peer.above_weights(),
        }
        del stepper, model
        gc.collect()


def cases(methods: Iterable[str], compile: bool) -> Iterator[tuple[str, str]]:
    """Methods and their variants: from cached features, collecting head scores, compiled."""
    from peftcore.bench._stepper import CACHED, COMPILED, SCORED

    for name in methods or METHODS.names():
        side = METHODS.facts(name).kind == "side"
        yield name, ""
        if side:
            yield name, CACHED
        if METHODS.facts(name).shows == "heads":
            yield name, SCORED
        if compile and not side:
            yield name, COMPILED


def command(
    backbone: str = "vit_small_patch16_224",
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    methods: Annotated[str, typer.Option(help="Names, comma-separated; all where empty.")] = "",
    repeats: Annotated[int, typer.Option(min=1)] = 5,
    device: str = "auto",
    precision: str = "fp32",
    compile: Annotated[bool, typer.Option("--compile", help="Measure in-backbone methods compiled as well.")] = False,
    json: JSON = False,
) -> None:
    """Step time and memory of every method beside Hugging Face PEFT's LoRA on the same model."""
    from peftcore.bench._stepper import PEER

    rows = []
    for row in measure(backbone, batch_size, names_of(methods), repeats, device, precision, compile):
        rows.append(row)
        console.print(str(row))
    shown = [
        {
            "method": r["method"],
            "ms per step": f"{1e3 * r['seconds']:,.0f}",
            "time / peer": f"{r['time / peer']:.2f}",
            "MB above weights": f"{r['bytes above weights'] / 1e6:,.1f}",
            "memory / peer": f"{r['memory / peer']:.2f}",
        }
        for r in rows
        if "refused" not in r
    ]
    answer(json, rows, f"{backbone}, batch {batch_size}, {precision}; peer: {PEER}", shown)
