"""A second witness of a training step's memory: the peak of the whole process, as Linux counts it, beside the ledger's.

The ledger counts the tensors that PyTorch makes and sees nothing else. Linux knows nothing of tensors: it records the
most memory that a process ever had (VmHWM of /proc/self/status), and resets that on request (/proc/self/clear_refs). A
child process takes real steps, so that its peak holds nothing else; what it had before it built the model is deducted.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from peftcore import errors
from peftcore.cli.output import JSON, answer, console, names_of
from peftcore.registry import METHODS
from peftcore.spec import RunSpec

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Settings of glibc with which a block of 64 KiB or more goes back to the system as soon as it is freed.
_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_MAX_": "1000000"}
PARTS = {
    "freed, not returned": "tensors that were freed, whose memory the C library keeps for the next ones",
    "beside the model": "what is there before a step and is not a tensor: loaded kernels, modules, pages that are not "
    "full",
    "inside operators": "scratch of a step's kernels: packed matrices of a product, re-ordered images of a convolution",
}


def witness(spec: RunSpec) -> dict[str, int]:
    """The peak of a process that trains `spec` on the CPU, beside the ledger's peak of the same step.

    Returns bytes: 'process' (its peak above what it had without the model), 'ledger', 'predicted', 'imports' (what it
    had without the model), and PARTS, which add up to the difference of process and ledger.

    Raises:
        InvalidSetting: this system has no /proc to ask.
        OutOfMemory: the system ended the process.
        and what `predict_memory` raises.
    """
    from peftcore.memory import predict_memory
    from peftcore.task import load_task

    spec = RunSpec.of(spec).replace(pretrained=False, weights=None, device="cpu")
    if not os.access(_FORGET, os.W_OK):
        raise errors.InvalidSetting(
            "The peak of a process is read from Linux's /proc/self/clear_refs and VmHWM, which this system lacks."
        )
    report = predict_memory(spec)
    question = {"spec": spec.to_dict(), "report": report.to_dict() | {"curve": [], "activations": []}}
    question |= {"classes": len(load_task(spec.task).classes)}
    usual, lean = _asked(question, {}), _asked(question | {"ledger": True}, _AT_ONCE)
    process, without_slack = usual["peak"] - usual["imports"], lean["peak"] - lean["imports"]
    beside = lean["before"] - lean["imports"] - lean["ledger before"]
    parts = (process - without_slack, beside, without_slack - beside - lean["ledger"])
    found = {"process": process, "ledger": lean["ledger"], "predicted": report.peak, "imports": usual["imports"]}
    return found | dict(zip(PARTS, parts, strict=True))


def _asked(question: dict[str, Any], settings: dict[str, str]) -> dict[str, int]:
    """The answer of a child process with these settings in its environment."""
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", __name__, json.dumps(question)]
    child = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path, **settings})
    if child.returncode < 0:
        raise errors.OutOfMemory(
            f"The process that took the step was ended by signal {-child.returncode}, as the system does when memory "
            "runs out. Take a smaller batch."
        )
    if child.returncode:
        raise RuntimeError(f"The process that took the step failed: {child.stderr.strip()[-2000:]}")
    return json.loads(child.stdout.splitlines()[-1])


def measure(
    backbone: str = "vit_small_patch16_224", batch_size: int = 8, methods: Iterable[str] = ("full", "lora", "last")
) -> Iterator[dict[str, Any]]:
    """A row per method: bytes of the ledger and of the process at the peak of a step, and what makes the difference."""
    for name in methods:
        spec = RunSpec(backbone=backbone, method=name, batch_size=batch_size, cache_features=False)
        yield {"method": spec.method.title, **witness(spec)}


def _child(question: dict[str, Any]) -> dict[str, int]:
    """In a process of its own: takes the step and reads the system's counters, then the ledger's."""
    from peftcore.bench._real_step import RealStep
    from peftcore.memory import MemoryReport

    spec = RunSpec.from_dict(question["spec"])
    _load_everything(spec)
    imports = _resident()
    step = RealStep.of(spec, MemoryReport.from_dict(question["report"]), question["classes"])
    for _ in range(2):  # the optimizer's state is there from then on
        step.take()
    before = _resident()
    _FORGET.write_text("5")
    step.take()
    peak = _status("VmHWM")
    found = {"imports": imports, "before": before, "peak": peak}
    if question.get("ledger"):
        report = step.measure()
        found |= {"ledger": report.peak, "ledger before": sum(report.curve[0][name] for name in report.components)}
    return found


def _load_everything(spec: RunSpec) -> None:
    """A small step of the same method: libraries are imported, threads started, kernels' code is loaded."""
    from peftcore.bench._real_step import RealStep

    small = spec.replace(backbone="vit_micro", image_size=None)
    try:
        step = RealStep(small, 2, 2)
    except errors.HeadroomError:  # settings that fit the large backbone alone
        step = RealStep(small.replace(method=METHODS.baseline("upper")), 2, 2)
    step.take()
    step.measure()


def _resident() -> int:
    """Bytes that this process has, once all that was freed is returned to the system."""
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    return _status("VmRSS")


def _status(name: str) -> int:
    return 1024 * int(re.findall(rf"{name}:\s+(\d+) kB", _STATUS.read_text())[0])


def command(
    backbone: str = "vit_small_patch16_224",
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    methods: Annotated[str, typer.Option(help="Names, comma-separated.")] = "full,lora,last",
    json: JSON = False,
) -> None:
    """The ledger's peak of a step beside the peak of the process that takes it, on the CPU, and what differs."""
    rows = []
    for row in measure(backbone, batch_size, names_of(methods)):
        rows.append(row)
        console.print(str(row))
    answer(json, rows, f"{backbone}, batch {batch_size}, fp32, on the CPU", [_shown(row) for row in rows])


def _shown(row: dict[str, Any]) -> dict[str, str]:
    sizes = ("predicted", "ledger", "process", *PARTS)
    return {
        "method": row["method"],
        **{f"{name} MB": f"{row[name] / 1e6:,.1f}" for name in sizes},
        "process / ledger": f"{row['process'] / row['ledger']:.3f}",
    }


if __name__ == "__main__":
    print(json.dumps(_child(json.loads(sys.argv[1]))))
