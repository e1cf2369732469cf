"""`python -m peftcore doctor`: what works on this machine, what does not, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Annotated

import typer

from peftcore.bench._device_checks import all_devices, kernels, trial
from peftcore.bench._machine_checks import (
    Finding,
    database,
    disk,
    hub,
    libraries,
    processors,
    ray_task,
    weights,
)
from peftcore.cli.output import JSON, answer, console, names_of


def doctor(
    devices: Annotated[str, typer.Option(help="Devices to try, comma-separated; all that PyTorch finds.")] = "",
    ray: Annotated[bool, typer.Option(help="Start Ray and run a task on it (10 s).")] = True,
    json: JSON = False,
) -> None:
    """Check PyTorch, devices, memory, Ray, disk, hub and weights, and train three steps on each device."""
    findings = []
    with console.status("", spinner="dots") as status:
        for check in checks(names_of(devices), ray):
            status.update(check.__doc__ or check.__name__)
            findings += examined(check)
    marks = {"works": "✓", "limited": "!", "fails": "✗"}
    rows = [{"": marks[f.state], "name": f.name, "found": f.found, "what to do": f.remedy} for f in findings]
    answer(json, [asdict(f) for f in findings], "Doctor", rows)
    if any(f.state == "fails" for f in findings):
        raise typer.Exit(1)


def checks(chosen: Iterable[str] = (), ray: bool = True) -> list[Callable[[], Iterable[Finding]]]:
    """What `doctor` looks at, in order; each is called by itself, so that one that fails does not hide the others."""
    try:
        devices = list(chosen or all_devices())
    except ImportError:  # of PyTorch, on which `libraries` has a sentence
        devices = []
    return [libraries, processors, kernels, disk, database, *([ray_task] if ray else []), hub, weights,
            *(trial(device) for device in dict.fromkeys(devices))]  # fmt: skip


def examined(check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a check finds; whatever it raises is a finding too, since this is the command that explains failures."""
    found: list[Finding] = []
    try:
        for finding in check():
            found.append(finding)
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        name = (check.__doc__ or check.__name__).rstrip(".")
        install = "Install what requirements.txt names, as it is pinned."
        remedy = install if isinstance(error, ImportError) else "See the sentence."
        found.append(Finding(name, "fails", f"{type(error).__name__}: {said[0][:200]}", remedy))
    return found
