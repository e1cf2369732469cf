"""What the doctor tries on each device: attention kernels, and a few steps of training."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator

from peftcore.bench._machine_checks import Finding, State

TRIALS = ("lora", "last")  # one method that changes what the backbone computes, one that only reads it


def kernels() -> Iterator[Finding]:
    """Attention kernels."""
    import torch
    from torch.nn import functional as F

    for device in all_devices():
        q = torch.randn(1, 2, 65, 16, device=device)
        error = (F.scaled_dot_product_attention(q, q, q) - (q @ q.mT / 4).softmax(-1) @ q).abs().max().item()
        exact = error < 1e-2
        yield Finding(f"fused attention on {device}", "works" if exact else "fails", f"differs by {error:.1e}",
                      "" if exact else "update PyTorch or the driver")  # fmt: skip
    if not shutil.which(os.environ.get("CXX", "c++")):
        yield Finding("torch.compile", "limited", "no C++ compiler", "only needed for --compile: install g++")


def all_devices() -> list[str]:
    """The devices that PyTorch finds."""
    import torch

    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def trial(device: str) -> Callable[[], Iterator[Finding]]:
    """A check that trains on this device, and saves and loads what was trained."""

    def check() -> Iterator[Finding]:
        import torch

        from peftcore.adapters.load import load_adapter
        from peftcore.adapters.save import save_adapter
        from peftcore.backbone.load import load_backbone
        from peftcore.bench._measure import measure_step
        from peftcore.memory.step import train_step
        from peftcore.model import attach
        from peftcore.spec import RunSpec
        from peftcore.train.recipe import choose_device, make_optimizer

        where = choose_device(device)
        for name in TRIALS:
            backbone = load_backbone("vit_micro").to(where)
            model = attach(backbone, name, 10).train()
            optimizer = make_optimizer(model, RunSpec(method=name))
            images, labels = torch.randn(16, *backbone.input_size, device=where), torch.arange(16, device=where) % 10
            report = measure_step(model, images, labels, optimizer)
            began = time.perf_counter()
            for _ in range(3):
                train_step(model, images, labels, optimizer)
            labels.cpu()  # waits for a GPU
            each = (time.perf_counter() - began) / 3
            with tempfile.TemporaryDirectory() as place, torch.no_grad():
                save_adapter(place, model.eval())
                again = load_adapter(place, backbone).eval()
                moved = (again(images) - model(images)).abs().max().item()
            found = f"16 images a step, {16 / each:.0f} images/s; ledger {report.peak / 1e6:.0f} MB"
            apart = 0.0
            if report.allocator:
                allocated = report.allocator["allocated"]
                apart = abs(allocated - report.peak) / report.peak
                found += f", allocator {allocated / 1e6:.0f} MB"
            state: State = "fails" if moved > 1e-5 else "limited" if apart > 0.1 else "works"
            remedy = {"fails": f"a saved adapter computes otherwise, by {moved:.1e}: please report it",
                      "limited": "predicted and real memory differ: please report it", "works": ""}[state]  # fmt: skip
            yield Finding(f"{name} on {device}", state, f"{found}; saved and loaded alike", remedy)

    check.__doc__ = f"Three steps on {device}."
    return check
