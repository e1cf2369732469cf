"""The bytes of a training step by method: predicted at once, measured on request. Both work beside the page.

Measuring has a thread of its own, so that a long step keeps nobody from seeing a prediction. What one reader measured,
all see.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import background, forms, words
from peftcore.backbone import embedded
from peftcore.errors import HeadroomError, InvalidSetting, OutOfMemory
from peftcore.figures import memory as figures
from peftcore.figures.theme import method_kind, method_title, si_bytes
from peftcore.registry import METHODS

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
TASK = "digits"  # whose images a measured step sees, and whose classes the classifier has, where no link says another
BATCHES = ("1", "2", "4", "8", "16", "32", "64", "128", "256")
OWN = "own"
SIZES = (OWN, "64", "96", "128", "160", "192", "224", "256", "320", "384", "448", "512")
FEATURES = {"cached": "read from the cache", "computed": "computed in the step"}
DEVICES = {"auto": "this machine", "cuda": "a CUDA GPU"}
SPARE = 1.15  # a step is measured only where its predicted bytes, times this, are free


@dataclass(frozen=True)
class Case:
    """One training step to account for. `cached`: side methods read frozen features that were computed before.

    What a reader may type (batch, size) is text until a spec is made of it, which says what is wrong with it; `options`
    are the method's settings as JSON.
    """

    method: str
    backbone: str
    batch: str
    precision: str
    device: str
    cached: bool
    size: str = OWN
    options: str = "{}"
    task: str = TASK
    epochs: str = "10"  # changes no byte, but some settings of a method are shares of it

    @property
    def reads_cache(self) -> bool:
        return self.cached and method_kind(self.method) == "side"

    @property
    def image_size(self) -> int | None:
        """Pixels; None is the backbone's own size."""
        if self.size == OWN:
            return None
        if not self.size.isdecimal():
            raise InvalidSetting(f"An image size is a number of pixels such as 224; got {self.size!r}.")
        return int(self.size)

    def settings(self) -> dict[str, Any]:
        """The fields of a RunSpec, without torch."""
        settings = {"backbone": self.backbone, "precision": self.precision, "task": self.task, "device": self.device}
        settings |= {"batch_size": _whole(self.batch), "epochs": _whole(self.epochs), "pretrained": False}
        if not self.reads_cache:
            settings["cache_features"] = False
        return {"method": {"name": self.method, **json.loads(self.options)}, **settings}

    def spec(self) -> RunSpec:
        from peftcore.spec import RunSpec

        return RunSpec.from_dict(self.settings())

    def command(self) -> str:
        """The command line that predicts the same."""
        size = "" if self.size == OWN else f" --image-size {self.size}"
        return words.command(self.settings(), "predict") + size


def _whole(text: str) -> int | str:
    """A whole number where the text is one; the schema says what is wrong with the rest."""
    return int(text) if text.isdecimal() else text


def preset(spec: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Query parameters of the Memory page for a spec: its method with its own settings, beside full fine-tuning."""
    method = spec["method"]["name"]
    said = {name: value for name, value in forms.preset(spec).items() if name.startswith(f"{method}.")}
    said |= {name: str(spec[name]) for name in ("backbone", "precision", "device", "task", "epochs")}
    computed = spec["cache_features"] is False or spec["augmentation"] != "none"
    said |= {"batch": str(spec["batch_size"]), "features": "computed" if computed else "cached", "curve": method}
    return said | {"methods": ",".join(dict.fromkeys((METHODS.baseline("upper"), method)))}


def offered(defaults: Iterable[str], asked: str | None) -> list[str]:
    """What a choice offers: the defaults, and whatever else the address asks for."""
    known = list(defaults)
    return known if asked is None or asked in known else [*known, asked]


def backbones(asked: str | None = None) -> list[str]:
    """The embedded backbones, common ones of timm, and what was asked for."""
    return offered([*embedded.names(), *COMMON], asked)


def options(methods: Iterable[str]) -> dict[str, str]:
    """A form for the settings of the methods that have any; by method, as JSON, what differs from the default."""
    said = {}
    with st.popover("Settings", icon=":material/tune:", help="The methods' own settings; they stand in the address."):
        for name in methods:
            cls = METHODS.load(name).METHOD
            if cls.model_fields:
                st.markdown(f"**{method_title(name)}**")
            values = forms.fields(cls, prefix=f"{name}.", columns=3)
            plain = {field: info.get_default(call_default_factory=True) for field, info in cls.model_fields.items()}
            changed = {field: value for field, value in values.items() if value != plain[field]}
            said[name] = json.dumps(changed, sort_keys=True)
    return said


def classes(task: str) -> str:
    """'10 classes' of a task, as far as its card says."""
    from peftcore.memory.predict import classes_of

    try:
        return f"{classes_of(task)} classes"
    except HeadroomError:
        return f"the classes of {task}"


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
    lines, some = [], any(report(measured(case)) for case in cases)
    for case in cases:
        guess, real = report(predicted(case)), report(measured(case))
        if known := real or guess:
            error = f"{100 * (guess.peak / real.peak - 1):+.1f} %" if guess and real else "not measured"
            card = next((f"{card} GB" for card in figures.CARDS if card * 1e9 >= known.peak), "none of these")
            line = {"method": method_title(case.method), "peak": si_bytes(known.peak)}
            line |= {"above weights": si_bytes(known.above_weights), "fits on": card}
            lines.append(line | ({"prediction": error} if some else {}))
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

    return predict_memory(case.spec(), cached=case.reads_cache, image_size=case.image_size)


def _measure(case: Case) -> MemoryReport:
    """A real step on real images. The weights are random: bytes do not depend on their values."""
    import contextlib

    import numpy as np
    import torch

    from peftcore.backbone.load import load_backbone
    from peftcore.backbone.preprocess import prepare
    from peftcore.memory import measure_step
    from peftcore.model import attach
    from peftcore.task import load_task
    from peftcore.train.recipe import choose_device, make_optimizer

    spec, task = case.spec(), load_task(case.task)
    device = choose_device(case.device)
    _must_fit(case, device)
    size = {"img_size": case.image_size} if case.image_size else {}
    backbone = load_backbone(spec.backbone, pretrained=False, device=device, **size)
    model = attach(backbone, spec.method, len(task.classes))
    which = np.arange(spec.batch_size) % len(task.train)
    images = prepare(task.train.images[which], model.backbone, device=device)
    labels = torch.tensor(task.train.labels[which]).to(device)
    features = None
    if case.reads_cache:
        half = torch.autocast(device.type, torch.bfloat16) if case.precision == "bf16" else contextlib.nullcontext()
        with half:
            # Copies, as a cache gives them: a class token alone is a view, and all tokens would stay with it.
            features, images = tuple(part.clone() for part in model.features(images)), None
    return measure_step(model, images, labels, make_optimizer(model, spec), features=features, precision=case.precision)


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
