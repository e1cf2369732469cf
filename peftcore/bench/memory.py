"""Predicted and measured bytes of a training step of every method, and their ratio to full fine-tuning, in one run."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from peftcore import errors
from peftcore.cli.output import JSON, answer, console, names_of
from peftcore.registry import METHODS
from peftcore.spec import RunSpec

CLASSES = 10


def measure(
    backbones: Iterable[str] = ("vit_small_patch16_224",),
    batch_size: int = 4,
    methods: Iterable[str] = (),
    device: str = "auto",
    precision: str = "fp32",
    image_size: int | None = None,
    predict_only: bool = False,
) -> Iterator[dict[str, Any]]:
    """One row per backbone and method, side methods also from cached features: bytes at the peak of a step, `predicted`
    and, unless `predict_only`, `measured` on random images, the prediction's `error` as a share, the bytes above the
    weights, and these as a share of full fine-tuning's. A combination that is refused has the sentence instead."""
    from peftcore.bench._real_step import RealStep
    from peftcore.memory import predict_memory
    from peftcore.memory.predict import target_device

    place = device if predict_only else target_device(device)
    for backbone in backbones:
        base = RunSpec(
            backbone=backbone,
            batch_size=batch_size,
            precision=precision,
            device=place,
            pretrained=False,
            method=METHODS.baseline("upper"),
            image_size=image_size,
        )
        full = predict_memory(base, num_classes=CLASSES).above_weights
        shared = None if predict_only else _backbone(backbone, place, image_size)
        for name, cached in cases(methods):
            spec = base.replace(method=name, cache_features="auto" if cached else False)
            row: dict[str, Any] = {
                "backbone": backbone,
                "method": spec.method.title + (", cached features" if cached else ""),
            }
            try:
                guess = predict_memory(spec, num_classes=CLASSES)
            except (errors.DoesNotFit, errors.InvalidSetting) as why:
                yield {**row, "refused": str(why)}
                continue
            row |= {"predicted": guess.peak, "prediction seconds": guess.seconds}
            known = guess
            if shared is not None:
                known = RealStep(spec, batch_size, CLASSES, cached=cached, backbone=shared).measure()
                row |= {"measured": known.peak, "error": guess.peak / known.peak - 1}
            yield {**row, "above weights": known.above_weights, "of full": known.above_weights / full}
            gc.collect()


def cases(methods: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Names of methods, each with whether features are cached; side methods both ways."""
    for name in methods or METHODS.names():
        yield name, False
        if METHODS.facts(name).kind == "side":
            yield name, True


def _backbone(name: str, device: str, image_size: int | None) -> Any:
    from peftcore.backbone.load import load_backbone

    return load_backbone(name, pretrained=False, img_size=image_size).to(device)


def command(
    backbones: Annotated[str, typer.Option(help="Names, comma-separated.")] = "vit_small_patch16_224",
    batch_size: Annotated[int, typer.Option(min=1)] = 4,
    methods: Annotated[str, typer.Option(help="Names, comma-separated; all where empty.")] = "",
    device: str = "auto",
    precision: str = "fp32",
    image_size: Annotated[int | None, typer.Option(min=1, help="Pixels; the backbone's own where not given.")] = None,
    predict_only: Annotated[bool, typer.Option(help="Measure nothing; any backbone, batch and device then.")] = False,
    json: JSON = False,
) -> None:
    """Predicted and measured memory of every method, and its ratio to full fine-tuning."""
    rows = []
    for row in measure(names_of(backbones), batch_size, names_of(methods), device, precision, image_size, predict_only):
        rows.append(row)
        console.print(str(row))
    shown = [_shown(row) for row in rows if "refused" not in row]
    errors_made = [abs(row["error"]) for row in rows if "error" in row]
    summary = (
        f"; error {statistics.median(errors_made):.2%} median, {max(errors_made):.2%} largest" if errors_made else ""
    )
    answer(json, rows, f"batch {batch_size}, {precision}, on {device}{summary}", shown)


def _shown(row: dict[str, Any]) -> dict[str, str]:
    shown = {"backbone": row["backbone"], "method": row["method"], "predicted MB": f"{row['predicted'] / 1e6:,.1f}"}
    if "measured" in row:
        shown |= {"measured MB": f"{row['measured'] / 1e6:,.1f}", "error": f"{row['error']:+.2%}"}
    return shown | {
        "MB above weights": f"{row['above weights'] / 1e6:,.1f}",
        "of full": f"{row['of full']:.3f}",
        "predicted in": f"{row['prediction seconds']:.1f} s",
    }
