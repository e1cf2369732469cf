"""Checks on a device that train: precision, races, probes, resuming, memory that runs out, sharing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any, get_args
from unittest.mock import patch

from gpu_checks import TASK, apart, batch_of
from gpu_parts import Place, Row

IMAGES = {True: (16, 16), False: (128, 64)}  # to train on, and of the other splits; fewer in a rehearsal


def spec_of(place: Place, method: Any, **settings: Any) -> Any:
    from peftcore.spec import RunSpec

    given = dict(task=TASK, epochs=2, lr=0.005, device=place.device, seed=1)
    return RunSpec(method=method, **(given | settings))


def few(place: Place) -> Any:
    """TASK with a few images: its labels are learnt in part, which is enough to compare."""
    from peftcore.task import Split, load_task

    task, (train, other) = load_task(TASK), IMAGES[place.rehearse]

    def cut(split: Any, count: int) -> Any:
        return Split(split.images[:count], split.labels[:count])

    return replace(task, train=cut(task.train, train), val=cut(task.val, other), test=cut(task.test, other))


def trained(place: Place, spec: Any, resume: bytes | None = None) -> tuple[list[Any], Any]:
    """The events of a run on a few images, and its model."""
    from peftcore.train.loop import Returning, finetune

    with patch("peftcore.train.loop.load_task", lambda _: few(place)):
        events = Returning(finetune(spec, resume))
        return list(events), events.value


def precision(place: Place, known: list[Row]) -> Iterator[Row]:
    for method in ("lora", "last"):
        ends = {p: trained(place, spec_of(place, method, precision=p))[0] for p in ("fp32", "bf16")}
        losses = {p: events[-1].epochs[-1]["train_loss"] for p, events in ends.items()}
        peaks = {p: events[-1].memory["peak"] for p, events in ends.items()}
        yield {"method": method, "loss": losses, "peak": peaks}
        if abs(losses["bf16"] - losses["fp32"]) > 0.1 * losses["fp32"]:
            raise AssertionError(f"{method}: bf16 ends at a loss of {losses['bf16']:.3f}, fp32 at {losses['fp32']:.3f}")


def race(place: Place, known: list[Row]) -> Iterator[Row]:
    """Three rates of LAST in one call end where each ends alone."""
    from peftcore.train.loop import Returning
    from peftcore.train.race import race_events

    specs = [spec_of(place, "last", lr=lr) for lr in (0.002, 0.005, 0.01)]
    began = time.perf_counter()
    with patch("peftcore.train.loop.load_task", lambda _: few(place)):
        stream = Returning(race_events(specs))
        events = list(stream)
    together, began = time.perf_counter() - began, time.perf_counter()
    for number, spec in enumerate(specs):
        seen, model = trained(place, spec)
        ends = [event for which, event in events if which == number]
        states = zip(stream.value[number].adapter_state().values(), model.adapter_state().values(), strict=True)
        yield {"lr": spec.lr, "losses": [ends[-1].epochs[-1]["train_loss"], seen[-1].epochs[-1]["train_loss"]],
               "weights apart": max(apart(a, b, 0.05) for a, b in states)}  # fmt: skip
    yield {"seconds together": round(together, 2), "seconds alone": round(time.perf_counter() - began, 2)}


def probes(place: Place, known: list[Row]) -> Iterator[Row]:
    """Probes of one model on the device and on the CPU."""
    from peftcore.adapters import from_bytes, to_bytes
    from peftcore.probes.attention import attention_maps, side_attention
    from peftcore.probes.attribution import By, attribute
    from peftcore.probes.effects import head_effects
    from peftcore.probes.responsiveness import head_energy, head_scores

    heart, last = trained(place, spec_of(place, "heart_lora"))[1], trained(place, spec_of(place, "last"))[1]
    (images, labels), models = batch_of(place, heart), (heart, last)
    mirrors = tuple(from_bytes(to_bytes(model)) for model in models)
    x, y = images.cpu(), labels.cpu()
    asked: dict[str, Callable[[Any, Any, Any], Any]] = {
        "head scores": lambda m, x, y: head_scores(m[0], x, y).values,
        "head energy": lambda m, x, y: head_energy(m[0]).values,
        "head effects": lambda m, x, y: head_effects(m[0], x, y).loss,
        "attention": lambda m, x, y: attention_maps(m[0], x, -1),
        "side attention": lambda m, x, y: side_attention(m[1], x)[-1],
    }
    ways: tuple[By, ...] = get_args(By)
    asked |= {by: partial(lambda by, m, x, y: attribute(m[0], x, [0] * len(x), by).maps, by) for by in ways}
    for name, probe in asked.items():
        began = time.perf_counter()
        here = probe(tuple(model.eval() for model in models), images, labels)
        seconds = time.perf_counter() - began
        yield {"probe": name, "seconds": round(seconds, 3), "apart": apart(here, probe(mirrors, x, y), 0.02)}


def resume(place: Place, known: list[Row]) -> Iterator[Row]:
    """A checkpoint of one device goes on on the other, and on its own to the same weights."""
    spec = spec_of(place, "last", device="auto")
    events, whole = trained(place, spec)
    state = next(event.blob for event in events if event.kind == "checkpoint")
    for where, blind in (("itself", False), ("the CPU", True)):
        with patch("torch.cuda.is_available", lambda: False) if blind else nullcontext():
            seen, model = trained(place, spec, state)
        pairs = zip(model.adapter_state().values(), whole.adapter_state().values(), strict=True)
        yield {"from": str(place.torch), "to": where, "trained on": seen[0].device,
               "weights apart": max(apart(a, b, 0.05) for a, b in pairs)}  # fmt: skip


def out_of_memory(place: Place, known: list[Row]) -> Iterator[Row]:
    """The error names remedies, and the device works on."""
    import torch

    from peftcore import errors

    if not place.on_cuda:
        yield {"left out": "a CPU's memory is not used up on purpose"}
        return
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2e9 / torch.cuda.mem_get_info()[1])
    try:
        trained(place, spec_of(place, "full", backbone=place.large(), pretrained=False, batch_size=256))
        raise AssertionError("a step that needs more than 2 GB ran in 2 GB")
    except errors.OutOfMemory as error:
        yield {"error": str(error)[:200]}
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    yield {"afterwards": trained(place, spec_of(place, "lora", epochs=1))[0][-1].test_accuracy}


def compile(place: Place, known: list[Row]) -> Iterator[Row]:
    began = time.perf_counter()
    losses = [trained(place, spec_of(place, "lora", epochs=1, compile=on))[0][-1].epochs[-1]["train_loss"] for on in (False, True)]  # fmt: skip  # noqa: E501
    yield {"loss": losses, "seconds": round(time.perf_counter() - began, 1), "apart": apart(losses[1], losses[0], 0.02)}


def sharing(place: Place, known: list[Row]) -> Iterator[Row]:
    """Two runs on one device: by Ray's engine where Ray is there, else as two processes of this script."""
    import subprocess
    import sys

    if find_spec("ray") and not place.rehearse:
        import gpu_speed

        yield from gpu_speed.engine(place)
        return
    command = [sys.executable, *(["-S"] if sys.flags.no_site else []), "-c", _ALONE, str(place.device)]
    env_path = {"PYTHONPATH": ":".join(sys.path)}
    import os

    for count in (1, 2):
        began = time.perf_counter()
        children = [subprocess.Popen(command, env=os.environ | env_path) for _ in range(count)]
        codes = [child.wait() for child in children]
        yield {"processes": count, "seconds": round(time.perf_counter() - began, 1), "exit": codes, "ray": False}
        if any(codes):
            raise AssertionError(f"exit statuses {codes}")


_ALONE = """
import sys, pathlib
from gpu_parts import Place
from gpu_runs import spec_of, trained
place = Place(sys.argv[1], True, pathlib.Path("."), 0.0)
trained(place, spec_of(place, "lora", epochs=1))
"""
