"""Real steps on this machine: measured by the ledger on request and, if wanted, by the system's count of a process.

Measuring has a process of its own, so that a long step keeps nobody from seeing a prediction, and ends at once where it
is stopped. What one reader measured, all see.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

import streamlit as st

from app import background, links
from app.desk import Desk
from app.memory.cases import Case, fault, or_error, predict
from app.room import who
from app.worker import Call
from peftcore.errors import OutOfMemory
from peftcore.figures.method_style import method_title
from peftcore.figures.words import si_bytes

if TYPE_CHECKING:
    from peftcore.memory import MemoryReport

SPARE = 1.15  # a step is measured only where its predicted bytes, times this, are free
SECONDS = 1800  # of a processor: a step of a large model is long, and somebody waits for it
LEDGER, PROCESS = "ledger", "process"  # who counts
ABOUT_PROCESSES = (
    "Process: the peak of a process of its own that took the step on the CPU, above what it had without the model, as "
    "the system counts it. It is the ledger's peak plus the last three columns: memory of freed tensors that the C "
    "library keeps for the next ones; what is there beside the model between steps, such as the kernels' code; and "
    "what operators take for themselves."
)


def buttons(cases: Sequence[Case]) -> None:
    """Measure, the second witness, and what stops them."""
    with st.container(horizontal=True, vertical_alignment="center"):
        doubted = links.read("witness") == "process"
        st.button(
            "Measure one real step",
            key="memory_measure",
            icon=":material/straighten:",
            type="primary",
            on_click=measure_all,
            args=(cases, doubted),
            help="Runs one training step of each method on this machine and counts every byte that lives.",
        )
        st.toggle(
            "and the whole process",
            value=doubted,
            key="memory_witness",
            on_change=_doubt,
            help="Then also takes the step in a process of its own, and asks the system (not PyTorch) how much memory "
            "that process had at most. On the CPU, under Linux; half a minute or more for each method.",
        )
        if under_way(cases):
            st.button("Stop", key="memory_stop", icon=":material/stop:", on_click=stop, args=(cases,))


def _doubt() -> None:
    links.write(witness="process" if st.session_state["memory_witness"] else None)


def measure(case: Case, by: str = LEDGER) -> Future:
    """Begins to measure one real step, once: a future of a MemoryReport, or of the witness's dict, or of an error."""
    if refused := who.unpredicted(case.backbone, case.task):
        return background.settled(refused)
    work = {LEDGER: _measure, PROCESS: _witness}[by]
    return _bench().ask((by, case), Call(or_error, (work, case), seconds=SECONDS, size=_free()))


def measure_all(cases: Iterable[Case], doubted: bool = False) -> None:
    """Begins to measure every case that was not measured yet, and again those that could not be."""
    cases = list(cases)
    for by in (LEDGER, PROCESS) if doubted else (LEDGER,):
        for case in cases:
            if fault(measured(case, by)):
                _bench().forget((by, case))
            measure(case, by)


def measured(case: Case, by: str = LEDGER) -> Future | None:
    """What `measure` began, or None."""
    return None if who.unpredicted(case.backbone, case.task) else _bench().jobs.get((by, case))


def jobs(cases: Iterable[Case]) -> dict[tuple[str, Case], Future]:
    """All that was begun, by what it is in words."""
    names = {LEDGER: "measuring", PROCESS: "watching a process with"}
    return {(names[by], case): job for case in cases for by in names if (job := measured(case, by))}


def under_way(cases: Iterable[Case]) -> bool:
    """Whether something is being measured."""
    return any(not job.done() for job in jobs(cases).values())


def stop(cases: Iterable[Case]) -> None:
    """Takes back what was to be measured, and ends a step under way."""
    for case in cases:
        for by in (LEDGER, PROCESS):
            if (job := measured(case, by)) and not job.done():
                _bench().forget((by, case))


@st.cache_resource(show_spinner=False)
def _bench() -> Desk:
    return Desk()


def _free() -> int:
    """Bytes that are free on this machine: a step that would take more is not begun."""
    import psutil

    return psutil.virtual_memory().available


def _measure(case: Case) -> MemoryReport:
    from peftcore.bench._real_step import RealStep, classes_of

    spec, guess = case.spec(), _that_fits(case)
    return RealStep.of(spec, guess, classes_of(spec.task)).measure()


def _witness(case: Case) -> dict[str, int]:
    from peftcore.bench.witness import witness

    _that_fits(case)
    return witness(case.spec())


def _that_fits(case: Case) -> MemoryReport:
    """The prediction of a step that this machine has the memory for.

    Raises:
        OutOfMemory: it has not; and the error that there is instead of a prediction.
    """
    import torch

    from peftcore.train.recipe import choose_device

    guess, device = predict(case), choose_device(case.device)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free()
    if guess.peak * SPARE > free:
        raise OutOfMemory(
            f"{method_title(case.method)}: this step needs about {si_bytes(guess.peak)} and {si_bytes(free)} are free, "
            "so it is not measured here. Take a smaller batch or a smaller backbone; its prediction stands."
        )
    return guess
