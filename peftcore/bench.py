"""Benchmarks: accuracy of methods over tasks and seeds; step time, memory and epochs beside Hugging Face PEFT in one run.

Each function yields rows (dicts) as they are measured. Times and bytes are told as ratios to a peer of the same run.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from . import errors
from .backbone import Backbone, load_backbone
from .memory import measure_step
from .methods import make_method
from .model import TunedModel, attach
from .recipe import choose_device
from .registry import METHODS
from .spec import RunSpec
from .train import run

EMBEDDED_TASKS = ("digits", "counting", "orientation")
PEER = "Hugging Face PEFT LoRA"


def accuracy(
    methods: Iterable[str] = (),
    tasks: Iterable[str] = EMBEDDED_TASKS,
    seeds: Iterable[int] = (0, 1, 2),
    log: Path | None = None,
    **recipe: Any,
) -> Iterator[dict[str, Any]]:
    """One row per run: method, task, seed, test_accuracy, val_accuracy, seconds.

    `log`: a JSON-lines file; runs whose spec is in it already are read from it, so an interrupted benchmark goes on.
    """
    known = {}
    if log and log.exists():
        known = {row["key"]: row for row in map(json.loads, log.read_text().splitlines())}
    for name in methods or METHODS.names():
        for task in tasks:
            for seed in seeds:
                spec = RunSpec(method=name, task=task, seed=seed, **recipe)
                if spec.key not in known:
                    result = run(spec)
                    row = {
                        "key": spec.key,
                        "method": name,
                        "task": task,
                        "seed": seed,
                        "test_accuracy": result.test_accuracy,
                        "val_accuracy": result.val_accuracy,
                        "seconds": round(result.seconds, 1),
                        "parameters": result.model.parameter_counts()["method"],
                    }
                    if log:
                        log.parent.mkdir(parents=True, exist_ok=True)
                        with log.open("a") as file:
                            file.write(json.dumps(row) + "\n")
                    known[spec.key] = row
                yield known[spec.key]


def accuracy_table(rows: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Method by task, 'mean ± standard deviation over seeds' in percent, and the mean of the task means."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        found.setdefault(row["method"], {}).setdefault(row["task"], []).append(100 * row["test_accuracy"])
    tasks = list(dict.fromkeys(task for by_task in found.values() for task in by_task))
    table = []
    for method, by_task in found.items():
        means = [statistics.mean(by_task[t]) for t in tasks if t in by_task]
        cells = {t: _spread(by_task.get(t, [])) for t in tasks}
        table.append(
            {"method": METHODS.load(method).METHOD.card.title, **cells, "mean": f"{statistics.mean(means):.1f}"}
        )
    return table


def _spread(values: list[float]) -> str:
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def speed(
    backbone: str = "vit_small_patch16_224",
    batch_size: int = 8,
    methods: Iterable[str] = (),
    repeats: int = 5,
    device: str = "auto",
    precision: str = "fp32",
) -> Iterator[dict[str, Any]]:
    """Seconds of a training step (median) and peak bytes above the weights, as ratios to Hugging Face PEFT's LoRA on
    the same model in the same run. Every measurement of a method is paired with one of the peer right before it."""
    place = choose_device(device)
    shared = load_backbone(backbone, pretrained=False).to(place)
    images = torch.randn(batch_size, *shared.input_size, device=place)
    labels = torch.arange(batch_size, device=place) % 10
    peer = _Stepper(_peer(shared), images, labels, precision)
    for name, cached in _cases(methods):
        try:
            model = attach(shared, make_method(name), 10)
        except errors.DoesNotFit as why:
            yield {"method": name, "refused": str(why)}
            continue
        stepper = _Stepper(model, images, labels, precision, cached)
        pairs = [(peer.seconds(), stepper.seconds()) for _ in range(repeats)]
        ratio = statistics.median(own / other for other, own in pairs)
        yield {
            "method": model.method.card.title + (", cached features" if cached else ""),
            "seconds": statistics.median(own for _, own in pairs),
            "time / peer": ratio,
            "bytes above weights": (own := stepper.above_weights()),
            "memory / peer": own / peer.above_weights(),
        }
        del stepper, model
        gc.collect()


def _cases(methods: Iterable[str]) -> Iterator[tuple[str, bool]]:
    for name in methods or METHODS.names():
        yield name, False
        if METHODS.load(name).METHOD.kind == "side":
            yield name, True


def _peer(backbone: Backbone) -> TunedModel:
    """Hugging Face PEFT's LoRA of rank 8 on the fused qkv: what the field runs."""
    return attach(backbone, make_method("hf_peft", tuner="lora", options={"r": 8, "target_modules": ["qkv"]}), 10)


class _Stepper:
    """One model and its optimizer, ready to be stepped and measured."""

    def __init__(self, model: TunedModel, images, labels, precision: str, cached: bool = False):
        self.model, self.images, self.labels, self.precision = model.train(), images, labels, precision
        self.optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=1e-4)
        self.features = model.features(images) if cached else None
        self._bytes: int | None = None
        self.seconds()

    def seconds(self) -> float:
        if self.images.is_cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.model(self.images) if self.features is None else self.model.from_features(self.features)
        F.cross_entropy(logits.float(), self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.images.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def above_weights(self) -> int:
        if self._bytes is None:
            report = measure_step(
                self.model, self.images, self.labels, self.optimizer, features=self.features, precision=self.precision
            )
            self._bytes = report.above_weights
        return self._bytes
