"""What a GPU is for: memory, time of a step and images a second of every method, Ray's engine, and pretraining."""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Row = dict[str, Any]
MODELS = {"vit_b16": ("vit_base_patch16_224", None), "vit_l16": ("vit_large_patch16_224", None),
          "swin_b": ("swin_base_patch4_window7_224", None), "vit_g14": ("vit_giant_patch14_dinov2", 224)}  # fmt: skip
SMALL = {"vit_micro": ("vit_micro", None), "swin_micro": ("swin_micro", None)}
FIRST = ("full", "lora", "last", "linear")  # the others follow, as far as the part's time goes
PEER = "peer"  # Hugging Face PEFT's LoRA
ENOUGH_SECONDS, MOST_STEPS = 1.0, 10  # of timed steps of one method
BF16_FIRST = ("bf16", "fp32")


def parts(rehearse: bool) -> dict[str, Callable[..., Iterator[Row]]]:
    """A part for each model and precision."""
    models = SMALL if rehearse else MODELS
    return {f"{model}_{precision}": partial(_steps, *of, precision)
            for model, of in models.items() for precision in (("fp32",) if rehearse else BF16_FIRST)}  # fmt: skip


def _steps(backbone: str, image_size: int | None, precision: str, place: Any, known: list[Row]) -> Iterator[Row]:
    """A row for each method, side methods also from cached features."""
    import torch

    from peftcore import errors
    from peftcore.backbone.load import load_backbone
    from peftcore.registry import METHODS

    batch = 4 if place.rehearse else 32
    shared = load_backbone(backbone, pretrained=False, device=place.torch, img_size=image_size)
    images = torch.randn(batch, *shared.input_size, device=place.torch)
    done = {(row["method"], row["cached"]) for row in known}
    others = [] if place.rehearse else [name for name in METHODS.names() if name not in (*FIRST, "hf_peft")]
    for name in (*FIRST, *([PEER] if find_spec("peft") else []), *others):
        side = name != PEER and METHODS.facts(name).kind == "side"
        for cached in (False, True)[: 1 + side]:
            if (name, cached) in done:
                continue
            row = {"method": name, "cached": cached, "backbone": backbone, "precision": precision, "batch": batch}
            try:
                yield row | _step(shared, name, cached, images, precision)
            except (errors.DoesNotFit, torch.OutOfMemoryError) as error:
                yield row | {"left out": str(error).splitlines()[0][:200]}
            gc.collect()
            if place.on_cuda:
                torch.cuda.empty_cache()


def _step(shared: Any, name: str, cached: bool, images: Any, precision: str) -> Row:
    import torch

    from peftcore.bench._measure import measure_step
    from peftcore.bench._stepper import CACHED, Stepper, peer_of
    from peftcore.methods import make_method
    from peftcore.model import attach

    labels = torch.arange(len(images), device=images.device) % 10
    model = peer_of(shared) if name == PEER else attach(shared, make_method(name), 10, verify=False)
    stepper = Stepper(model, images, labels, precision, CACHED if cached else "")  # takes a first step
    stepper.seconds()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < ENOUGH_SECONDS and len(times) < MOST_STEPS):
        times.append(stepper.seconds())
    peak = None
    if images.is_cuda:  # of a step without the ledger
        torch.cuda.reset_peak_memory_stats()
        stepper.seconds()
        peak = torch.cuda.max_memory_allocated()
    report = measure_step(model, images, labels, stepper.optimizer, features=stepper.features, precision=precision)
    seconds = statistics.median(times)
    return {"seconds": seconds, "images_per_second": len(images) / seconds, "ledger": report.peak,
            "above_weights": report.above_weights, "allocated": peak}  # fmt: skip


def engine(place: Any) -> Iterator[Row]:
    """Two runs at once on one GPU by Ray's engine, and the same two one after the other."""
    import tempfile

    from peftcore.engine import Engine
    from peftcore.spec import RunSpec
    from peftcore.store import Store

    for share in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            work = Engine(store, cpus_per_run=1, runs_per_gpu=share)
            work.start()
            began = time.perf_counter()
            specs = [RunSpec(method="lora", task="counting", epochs=2, device=place.device, seed=s) for s in (0, 1)]
            runs = [work.submit(spec) for spec in specs]
            while any(store.run(run).status in ("queued", "running") for run in runs):
                time.sleep(0.1)
            ends = [store.run(run).status for run in runs]
            yield {"runs_per_gpu": share, "seconds": round(time.perf_counter() - began, 1), "ends": ends, "ray": True}
            work.shutdown()
            if set(ends) != {"finished"}:
                raise AssertionError(f"runs ended as {ends}")


def pretrain(place: Any, known: list[Row]) -> Iterator[Row]:
    """Goes on from today's weights for the time that is left; the checkpoint stays in the results."""
    left = place.ends - time.monotonic() - 20
    if left < 20:
        yield {"left out": f"{max(left, 0):.0f} s were left"}
        return
    script = Path(__file__).with_name("pretrain.py")
    command = [sys.executable, *(["-S"] if sys.flags.no_site else []), str(script), "train", "vit_micro", "--start",
               "--no-export", "--images", "600000", "--minutes", f"{(0.3 if place.rehearse else left / 60):.2f}",
               "--device", str(place.torch), "--folder", str(place.folder / "pretrain"), "--measure-every", "4096",
               "--batch-size", "32" if place.rehearse else "256"]  # fmt: skip
    import os

    began = time.perf_counter()
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines()
    yield {"seconds": round(time.perf_counter() - began, 1), "exit": done.returncode, "said": lines[-6:]}
    if done.returncode:
        raise AssertionError(done.stderr.strip()[-500:])
