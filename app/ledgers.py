"""The bytes of a training step by method: predicted at once, measured on request. Both work beside the page.

Measuring has a thread of its own, so that a long step keeps nobody from seeing a prediction. What one reader measured,
all see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import background
from peftcore import embedded
from peftcore.errors import HeadroomError, OutOfMemory
from peftcore.figures import memory as figures
from peftcore.figures.theme import method_kind, method_title, si_bytes

if TYPE_CHECKING:
    from peftcore.memory import MemoryReport
    from peftcore.spec import RunSpec

# Any other architecture that timm has can be typed.
COMMON = (
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "vit_base_patch16_224",
    "vit_large_patch16_224",
    "vit_giant_patch14_dinov2",
    "deit3_base_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swin_base_patch4_window7_224",
)
TASK = "digits"  # whose images a measured step sees, and whose classes the classifier has
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FEATURES = {"cached": "read from the cache", "computed": "computed in the step"}
DEVICES = {"auto": "this machine", "cuda": "a CUDA GPU"}
SPARE = 1.15  # a step is measured only where its predicted bytes, times this, are free


@dataclass(frozen=True)
class Case:
    """One training step to account for. `cached`: side methods read frozen features that were computed before."""

    method: str
    backbone: str
    batch: int
    precision: str
    device: str
    cached: bool

    @property
    def reads_cache(self) -> bool:
        return self.cached and method_kind(self.method) == "side"

    def settings(self) -> dict[str, Any]:
        """The fields of a RunSpec, without torch."""
        settings = {"backbone": self.backbone, "batch_size": self.batch, "precision": self.precision, "task": TASK}
        settings |= {"device": self.device, "pretrained": False}
        if not self.reads_cache:
            settings["cache_features"] = False
        return {"method": {"name": self.method}, **settings}

    def spec(self) -> RunSpec:
        from peftcore.spec import RunSpec

        return RunSpec.from_dict(self.settings())


def backbones(asked: str | None = None) -> list[str]:
    """What the page offers: the embedded backbones, common ones of timm, and whatever else was asked for."""
    offered = [*embedded.names(), *COMMON]
    return offered if asked is None or asked in offered else [*offered, asked]


def predicted(case: Case) -> Future:
    """A future of a MemoryReport, or of the HeadroomError that says why there is none."""
    return background.later(("predicted", case), lambda: _said(_predict, case))


def measure(case: Case) -> Future:
    """Begins to measure one real step, once: a future of a MemoryReport or of a HeadroomError."""
    return _bench().ask(case, lambda: _said(_measure, case))


def measure_all(cases: Iterable[Case]) -> None:
    """Begins to measure every case that was not measured yet, and again those that could not be."""
    for case in cases:
        if trouble(measured(case)):
            del _bench().jobs[case]
        measure(case)


def measured(case: Case) -> Future | None:
    """What `measure` began, or None."""
    job = _bench().jobs.get(case)
    return None if job is None or job.cancelled() else job


def stop(cases: Iterable[Case]) -> None:
    """Takes back what was to be measured and has not begun; a step under way comes to its end."""
    for case in cases:
        job = _bench().jobs.get(case)
        if job is not None and job.cancel():
            del _bench().jobs[case]


def jobs(cases: Iterable[Case]) -> dict[tuple[str, Case], Future]:
    """All that is known or under way, by what it is."""
    found = {("predicting", case): predicted(case) for case in cases}
    return found | {("measuring", case): job for case in cases if (job := measured(case))}


def under_way(cases: Iterable[Case]) -> Future | None:
    """The next future that is not done; None where all are."""
    return next((job for job in jobs(cases).values() if not job.done()), None)


def progress(cases: Iterable[Case]) -> tuple[float, str]:
    """The share of what was asked for that is done, and in words what is under way."""
    known = jobs(cases)
    left = [(what, case) for (what, case), job in known.items() if not job.done()]
    if not left:
        return 1.0, "Done."
    what, case = left[0]
    more = f"; {len(left) - 1} more to come." if len(left) > 1 else "."
    return 1 - len(left) / len(known), f"{what.capitalize()} {method_title(case.method)} on {case.backbone}{more}"


def troubles(cases: Iterable[Case]) -> list[HeadroomError]:
    """What went wrong, each sentence once."""
    found = {str(error): error for job in jobs(cases).values() if (error := trouble(job))}
    return list(found.values())


def measuring(cases: Iterable[Case]) -> bool:
    """Whether something is being measured."""
    return any((job := measured(case)) and not job.done() for case in cases)


def report(job: Future | None) -> MemoryReport | None:
    """The report of a future that is done and no error."""
    result = job.result() if job is not None and job.done() else None
    return None if isinstance(result, HeadroomError) else result


def trouble(job: Future | None) -> HeadroomError | None:
    """The error of a future that is done and came to one."""
    result = job.result() if job is not None and job.done() else None
    return result if isinstance(result, HeadroomError) else None


def rows(cases: Iterable[Case]) -> list[dict[str, Any]]:
    """What `memory_bars` draws: every prediction and every measurement that is there, and the predictions that belong
    to measurements."""
    found = []
    for case in cases:
        for source, job in (("measured", measured(case)), ("predicted", predicted(case))):
            if told := report(job):
                found.append({"method": case.method, "source": source, **told.components})
    return found


def table(cases: Iterable[Case]) -> list[dict[str, str]]:
    """One line per method: peak, what of it lies above the weights, the prediction's error, and the smallest card."""
    lines = []
    for case in cases:
        guess, real = report(predicted(case)), report(measured(case))
        if known := real or guess:
            lines.append(
                {
                    "method": method_title(case.method),
                    "peak": si_bytes(known.peak),
                    "above weights": si_bytes(known.above_weights),
                    "prediction": f"{100 * (guess.peak / real.peak - 1):+.1f} %" if guess and real else "not measured",
                    "fits on": next(
                        (f"{card} GB" for card in figures.CARDS if card * 1e9 >= known.peak), "none of these"
                    ),
                }
            )
    return lines


def curve(case: Case) -> tuple[list[Mapping[str, Any]], str] | None:
    """The step moment by moment, measured where it was, else predicted; and which of the two."""
    for source, job in (("measured", measured(case)), ("predicted", predicted(case))):
        if told := report(job):
            return list(told.curve), source
    return None


@st.cache_resource(show_spinner=False)
def _bench() -> background.Desk:
    return background.Desk(threads=1)


def _said(work, case: Case) -> MemoryReport | HeadroomError:
    try:
        return work(case)
    except HeadroomError as error:
        return error


def _predict(case: Case) -> MemoryReport:
    from peftcore.memory import predict_memory

    return replace(predict_memory(case.spec(), cached=case.reads_cache), activations=())


def _measure(case: Case) -> MemoryReport:
    """A real step on real images. The weights are random: bytes do not depend on their values."""
    import contextlib

    import numpy as np
    import torch

    from peftcore.backbone import load_backbone
    from peftcore.memory import measure_step
    from peftcore.model import attach
    from peftcore.preprocess import prepare
    from peftcore.recipe import choose_device, make_optimizer
    from peftcore.tasks import load_task

    spec, task = case.spec(), load_task(TASK)
    device = choose_device(case.device)
    _must_fit(case, device)
    model = attach(load_backbone(spec.backbone, pretrained=False, device=device), spec.method, len(task.classes))
    which = np.arange(case.batch) % len(task.train)
    images = prepare(task.train.images[which], model.backbone, device=device)
    labels = torch.tensor(task.train.labels[which]).to(device)
    features = None
    if case.reads_cache:
        half = torch.autocast(device.type, torch.bfloat16) if case.precision == "bf16" else contextlib.nullcontext()
        with half:
            features, images = model.features(images), None
    told = measure_step(model, images, labels, make_optimizer(model, spec), features=features, precision=case.precision)
    return replace(told, activations=())


def _must_fit(case: Case, device: Any) -> None:
    import psutil
    import torch

    guess = predicted(case).result()
    if isinstance(guess, HeadroomError):
        raise guess
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if guess.peak * SPARE > free:
        raise OutOfMemory(
            f"{method_title(case.method)}: this step needs about {si_bytes(guess.peak)} and {si_bytes(free)} are free, "
            "so it is not measured here. Take a smaller batch or a smaller backbone; its prediction stands."
        )
