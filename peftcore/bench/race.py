"""K side networks trained together against one, as ratios in one run: time of a step and bytes above the weights."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from peftcore.cli.output import JSON, answer, console


def measure(
    backbone: str = "vit_small_patch16_224",
    batch_size: int = 8,
    racers: Iterable[int] = (1, 2, 4, 8),
    repeats: int = 5,
    device: str = "auto",
    precision: str = "fp32",
) -> Iterator[dict[str, Any]]:
    """A row per number of LASTs: median seconds of a step of all of them, with the frozen forward computed and from
    cached features, as ratios to one LAST alone in the same run, each measurement paired with one of the single one."""
    from peftcore.backbone.load import load_backbone
    from peftcore.task import load_task
    from peftcore.train.recipe import choose_device

    place = choose_device(device)
    shared = load_backbone(backbone, pretrained=False).to(place)
    classes = len(load_task("digits").classes)
    single = _Group(shared, 1, batch_size, classes, precision)
    for count in racers:
        group = single if count == 1 else _Group(shared, count, batch_size, classes, precision)
        row: dict[str, Any] = {"LASTs": count}
        for name, cached in (("forward computed", False), ("from cache", True)):
            pairs = [(single.seconds(cached), group.seconds(cached)) for _ in range(repeats)]
            row[f"seconds, {name}"] = statistics.median(own for _, own in pairs)
            row[f"time / one, {name}"] = statistics.median(own / one for one, own in pairs)
        row["bytes above weights"] = group.above_weights()
        row["memory / one"] = row["bytes above weights"] / single.above_weights()
        yield row


class _Group:
    """K LASTs of one shape, with optimizers of their own, that see the same images."""

    def __init__(self, backbone: Any, count: int, batch_size: int, classes: int, precision: str):
        import torch

        from peftcore.methods import make_method
        from peftcore.model import attach

        self.models = [attach(backbone, make_method("last"), classes, seed=k).train() for k in range(count)]
        self.optimizers = [torch.optim.AdamW(m.trainable_parameters(), lr=1e-4, fused=True) for m in self.models]
        self.images = torch.randn(batch_size, *backbone.input_size, device=backbone.device)
        self.labels = torch.arange(batch_size, device=backbone.device) % classes
        self.precision = precision
        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            self.features = tuple(z.clone() for z in self.models[0].features(self.images))
        self.seconds(True)

    def step(self, cached: bool) -> None:
        import torch
        import torch.nn.functional as F

        from peftcore.model import TunedModel

        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            features = self.features if cached else self.models[0].features(self.images)
            logits = TunedModel.abreast(self.models, tuple(z[None] for z in features)).float()  # (K, B, classes)
        labels = self.labels.expand(len(self.models), -1)
        F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").div(labels.shape[1]).backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def seconds(self, cached: bool) -> float:
        import torch

        wait = torch.cuda.synchronize if self.images.is_cuda else lambda: None
        wait()
        began = time.perf_counter()
        self.step(cached)
        wait()
        return time.perf_counter() - began

    def above_weights(self) -> int:
        """Of a step from cached features, which are counted."""
        import torch

        from peftcore.memory import Ledger

        trained = torch.nn.ModuleList(self.models)
        with Ledger(trained) as ledger:
            ledger.features(self.features)
            self.step(True)
        top = ledger.peak
        return top["total"] - top["frozen_weights"] - top["trainable_weights"]


def command(
    backbone: str = "vit_small_patch16_224",
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    racers: Annotated[str, typer.Option(help="How many LASTs, comma-separated.")] = "1,2,4,8",
    repeats: Annotated[int, typer.Option(min=1)] = 5,
    device: str = "auto",
    precision: str = "fp32",
    json: JSON = False,
) -> None:
    """K LASTs trained together against one: time of a step and bytes above the weights."""
    rows = []
    for row in measure(backbone, batch_size, [int(n) for n in racers.split(",")], repeats, device, precision):
        rows.append(row)
        console.print(str(row))
    shown = [
        {
            "LASTs": r["LASTs"],
            "ms, forward computed": f"{1e3 * r['seconds, forward computed']:,.0f}",
            "/ one": f"{r['time / one, forward computed']:.2f}",
            "ms, from cache": f"{1e3 * r['seconds, from cache']:,.0f}",
            "/ one ": f"{r['time / one, from cache']:.2f}",
            "MB above weights": f"{r['bytes above weights'] / 1e6:,.1f}",
            "/ one  ": f"{r['memory / one']:.2f}",
        }
        for r in rows
    ]
    answer(json, rows, f"Races: {backbone}, batch {batch_size}, {precision}", shown)
