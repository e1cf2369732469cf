"""The ledgers of the Memory page: bytes of a training step by method, predicted at once and measured on request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from app.memory.cases import Case, fault, predicted, result
from app.memory.measuring import PROCESS, measured
from app.memory.measuring import jobs as measurements
from peftcore.errors import HeadroomError
from peftcore.figures import memory as figures
from peftcore.figures.method_style import method_title
from peftcore.figures.words import si_bytes


def jobs(cases: Sequence[Case]) -> dict[tuple[str, Case], Future]:
    """All that is known or under way, by what it is."""
    return {("predicting", case): predicted(case) for case in cases} | measurements(cases)


def under_way(cases: Sequence[Case]) -> Future | None:
    """The next future that is not done; None where all are."""
    return next((job for job in jobs(cases).values() if not job.done()), None)


def progress(cases: Sequence[Case]) -> tuple[float, str]:
    """The share of what was asked for that is done, and in words what is under way."""
    known = jobs(cases)
    left = [(what, case) for (what, case), job in known.items() if not job.done()]
    if not left:
        return 1.0, "Done."
    what, case = left[0]
    more = f"; {len(left) - 1} more to come." if len(left) > 1 else "."
    return 1 - len(left) / len(known), f"{what.capitalize()} {method_title(case.method)} on {case.backbone}{more}"


def faults(cases: Sequence[Case]) -> list[HeadroomError]:
    """What went wrong, each sentence once."""
    return list({str(error): error for job in jobs(cases).values() if (error := fault(job))}.values())


def rows(cases: Iterable[Case]) -> list[dict[str, Any]]:
    """What `memory_bars` draws: every prediction and every measurement that is there."""
    return [
        {"method": case.method, "source": source, **report.components}
        for case in cases
        for source, job in (("measured", measured(case)), ("predicted", predicted(case)))
        if (report := result(job))
    ]


def table(cases: Iterable[Case]) -> list[dict[str, str]]:
    """One line per method: peak, what of it lies above the weights, the smallest card, and where something was measured
    the prediction's error."""
    lines, cases = [], list(cases)
    some = any(map(measured, cases))
    for case in cases:
        guess, real = result(predicted(case)), result(measured(case))
        if known := real or guess:
            error = f"{100 * (guess.peak / real.peak - 1):+.1f} %" if guess and real else "not measured"
            card = next((f"{card} GB" for card in figures.CARDS if card * 1e9 >= known.peak), "none of these")
            line = {"method": method_title(case.method), "peak": si_bytes(known.peak)}
            line |= {"above weights": si_bytes(known.above_weights), "fits on": card}
            lines.append(line | ({"prediction": error} if some else {}))
    return lines


def processes(cases: Iterable[Case]) -> list[dict[str, str]]:
    """One line per method whose process was watched: its peak, the ledger's, and what makes the difference."""
    from peftcore.bench.witness import PARTS

    return [
        {"method": method_title(case.method)}
        | {name: si_bytes(found[name]) for name in ("process", "ledger")}
        | {name: _signed(found[name]) for name in PARTS}
        for case in cases
        if (found := result(measured(case, PROCESS)))
    ]


def _signed(size: int) -> str:
    return f"{'-' if size < 0 else '+'}{si_bytes(abs(size))}"


def curve(case: Case) -> tuple[list[Mapping[str, Any]], str] | None:
    """The step moment by moment, measured where it was, else predicted; and which of the two."""
    for source, job in (("measured", measured(case)), ("predicted", predicted(case))):
        if report := result(job):
            return list(report.curve), source
    return None


def about(cases: Sequence[Case]) -> str:
    """What the numbers are of, in words: images, classes, and where the cached features are."""
    from peftcore.bench._real_step import classes_of

    known = [report for case in cases if (report := result(predicted(case)))]
    side = [report for case in cases if case.is_side and (report := result(predicted(case)))]
    batch = max((report.batch_size for report in known), default=0)
    try:
        classes = f"{classes_of(cases[0].task)} classes"
    except HeadroomError:
        classes = f"the classes of {cases[0].task}"
    where = " ".join(dict.fromkeys(report.cache["why"] for report in side[:1]))
    return f"{batch} images, {cases[0].precision}, {classes}. {where}".strip()
