"""An epoch from cached features beside an epoch of Hugging Face PEFT's LoRA on the same images, as ratios in one run;
what the cache takes and costs, and what keeping it in bf16 changes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from peftcore.cli.output import JSON, answer, console, names_of

METHODS = "last,lst,linear"


def measure(
    backbone: str = "vit_small_patch16_224",
    images: int = 64,
    batch_size: int = 8,
    methods: Iterable[str] = tuple(METHODS.split(",")),
    repeats: int = 3,
    device: str = "auto",
    precision: str = "fp32",
) -> Iterator[dict[str, Any]]:
    """A row per method: median seconds of an epoch over `images` random images by where its features come from, and the
    ratios to the peer's epoch, each paired with the one right before it. 'computed' has no cache; 'weights differ' is
    the largest difference between the weights trained so and those trained from the cache, the same epochs each."""
    import numpy as np

    from peftcore.backbone.load import load_backbone
    from peftcore.bench._epochs import Epochs
    from peftcore.bench._stepper import peer_of
    from peftcore.features.cache import FeatureCache
    from peftcore.features.disk import Shelf
    from peftcore.methods import make_method
    from peftcore.model import attach
    from peftcore.train.recipe import choose_device

    shared = load_backbone(backbone, pretrained=False).to(choose_device(device))
    size = (*shared.input_size[1:], 3)
    pixels = np.random.default_rng(0).integers(0, 256, (images, *size), dtype=np.uint8)
    recipe: dict[str, Any] = {"images": pixels, "batch_size": batch_size, "precision": precision}
    peer = Epochs(peer_of(shared), **recipe)
    peer.seconds()
    cuda = shared.device.type == "cuda"
    kept = {"cached": ("device" if cuda else "host", "fp32"), "cached bf16": ("device" if cuda else "host", "bf16")}
    kept |= ({"host": ("host", "fp32")} if cuda else {}) | {"disk": ("disk", "fp32")}
    for name in methods:
        made = {case: attach(shared, make_method(name), 10) for case in (*kept, "computed")}
        with tempfile.TemporaryDirectory() as folder:
            row: dict[str, Any] = {"method": made["cached"].method.title}
            runs = {}
            for case, model in made.items():
                cache = None
                if case in kept:
                    place, how = kept[case]
                    settings: Any = {
                        "precision": how,
                        "compute": precision,
                        "place": place,
                        "shelf": Shelf(Path(folder)),
                    }
                    cache = FeatureCache(shared, model.tuner.taps, pixels, "backbone", **settings)
                    began = time.perf_counter()
                    for _ in cache.fill():
                        pass
                    row[f"{case}: fill"] = time.perf_counter() - began
                    row[f"{case}: bytes"] = cache.nbytes
                runs[case] = Epochs(model, cache=cache, **recipe)
                runs[case].seconds()
            pairs = [(peer.seconds(), {case: run.seconds() for case, run in runs.items()}) for _ in range(repeats)]
            row["peer: seconds"] = statistics.median(other for other, _ in pairs)
            for case in runs:
                row[f"{case}: seconds"] = statistics.median(own[case] for _, own in pairs)
                row[f"{case} / peer"] = statistics.median(own[case] / other for other, own in pairs)
            weights = {case: run.model.adapter_state() for case, run in runs.items()}
            for case in ("computed", "disk", "cached bf16"):
                row[f"{case}: weights differ"] = max(
                    (tensor - weights[case][n]).abs().max().item() for n, tensor in weights["cached"].items()
                )
            del runs, cache
        yield row


def accuracies(methods: Iterable[str], seeds: int, epochs: int, backbone: str = "vit_micro") -> Iterator[dict]:
    """Test accuracy (shares) on digits with features kept in fp32 and in bf16, over seeds from 0."""
    from peftcore.spec import RunSpec
    from peftcore.train.loop import run

    for name in methods:
        found = {
            kept: [
                run(RunSpec(backbone=backbone, method=name, epochs=epochs, seed=s, cache_precision=kept)).test_accuracy
                for s in range(seeds)
            ]
            for kept in ("fp32", "bf16")
        }
        differences = [b - a for a, b in zip(found["fp32"], found["bf16"], strict=True)]
        yield {
            "method": name,
            **found,
            "mean difference": statistics.mean(differences),
            "largest difference": max(differences, key=abs),
        }


def command(
    backbone: str = "vit_small_patch16_224",
    images: Annotated[int, typer.Option(min=1)] = 64,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    methods: Annotated[str, typer.Option(help="Side methods, comma-separated.")] = METHODS,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    device: str = "auto",
    precision: str = "fp32",
    seeds: Annotated[int, typer.Option(min=0, help="Runs on digits with fp32 and bf16 features; 0 for none.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each of them.")] = 5,
    json: JSON = False,
) -> None:
    """An epoch from cached features beside an epoch of Hugging Face PEFT's LoRA on the same images."""
    from peftcore.bench._stepper import PEER

    rows, names = [], names_of(methods)
    for row in measure(backbone, images, batch_size, names, repeats, device, precision):
        rows.append(row)
        console.print(str(row))
    scores = list(accuracies(names, seeds, epochs)) if seeds else []
    if json:
        answer(True, {"epochs": rows, "accuracies": scores}, "", [])
        return
    shown = [line for row in rows for line in _lines(row)]
    answer(False, rows, f"An epoch: {backbone}, {images} images, batch {batch_size}, {precision}; peer: {PEER}", shown)
    compared = [
        {
            "method": s["method"],
            "fp32": f"{100 * statistics.mean(s['fp32']):.2f}",
            "bf16": f"{100 * statistics.mean(s['bf16']):.2f}",
            "mean difference": f"{100 * s['mean difference']:+.2f}",
            "largest": f"{100 * s['largest difference']:+.2f}",
        }
        for s in scores
    ]
    if compared:
        answer(False, scores, f"Test accuracy (%), vit_micro on digits, {epochs} epochs, {seeds} seeds", compared)


def _lines(row: dict[str, Any]) -> Iterator[dict[str, str]]:
    """A line of the table for each place the features come from."""
    for case in (key.removesuffix(" / peer") for key in row if key.endswith(" / peer")):
        differ = row.get(f"{case}: weights differ")
        yield {
            "method": row["method"],
            "features": case,
            "epoch": f"{1e3 * row[f'{case}: seconds']:,.1f} ms",
            "peer's": f"{1e3 * row['peer: seconds']:,.0f} ms",
            "ratio": f"1/{1 / row[f'{case} / peer']:,.1f}",
            "fill": f"{row[f'{case}: fill']:.2f} s" if case != "computed" else "",
            "MB": f"{row[f'{case}: bytes'] / 1e6:,.1f}" if case != "computed" else "",
            "weights differ": "" if differ is None else f"{differ:.1e}" if differ else "0",
        }
