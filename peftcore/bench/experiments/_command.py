"""`python -m peftcore experiment`: the list of experiments, and what makes, shows and records them."""

from __future__ import annotations

import math
import signal
import time
from typing import Annotated, Any

import typer

from peftcore.bench.experiments import Experiment, experiment, names
from peftcore.bench.experiments._known import Standing, everything, standing
from peftcore.bench.recipes import leave
from peftcore.cli.output import JSON, answer, console, progress_bars
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import Store


def command(
    name: Annotated[list[str] | None, typer.Argument(help="Experiments by name, or all; none: the list.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="When no further run begins; 0 only shows what is known.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write assets/experiments/NAME.json from whole seeds.")
    ] = False,
    json: JSON = False,
) -> None:
    """Answer a question that the three papers leave open by runs or predictions; nothing finished is run again."""
    store = Store()
    if not name:
        found = everything(store)
        return answer(json, [_value(one) for one in found], "Experiments", [_line(one) for one in found])
    chosen = [experiment(one) for one in (names() if name == ["all"] else name)]
    until = math.inf if minutes is None else time.monotonic() + 60 * minutes
    signal.signal(signal.SIGTERM, leave)
    try:
        # All of them with one seed first, so that whatever is done when the time is up has answers.
        for seeds in range(1, 1 + max(len(of.seeds) for of in chosen)) if minutes != 0 else ():
            for of in chosen:
                if _make(of, store, until, json, seeds) and record:
                    _record(of, store)
    finally:
        found = [standing(of, store) for of in chosen]
        if any(one.missing for one in found) and minutes:
            console.print("The time is up; the same command goes on.")
        for of in chosen if record else ():
            _record(of, store)
    if len(found) > 1:
        return answer(json, [_value(one) for one in found], "Experiments", [_line(one) for one in found])
    [only] = found
    title = only.answer or f"{only.experiment.title} {only.total - len(only.missing)} of {only.total} measured so far."
    answer(json, _value(only), title, _table(only) or [_line(only)])


def _make(of: Experiment, store: Store, until: float, json: bool, seeds: int) -> bool:
    """Whether there was anything to make."""
    import torch

    from peftcore.bench.experiments._make import make

    torch.set_num_threads(1)
    done = 0
    with progress_bars(json) as progress:
        bar = progress.add_task(of.name, total=None, say="")
        for done, total, spec, numbers in make(of, store, until, seeds):
            progress.update(bar, completed=done, total=total, say=_said(of, spec, numbers))
            if not console.is_terminal:
                console.print(f"{time.strftime('%H:%M:%S')} {of.name}, {done} of {total}: {_said(of, spec, numbers)}")
    return done > 0


def _record(of: Experiment, store: Store) -> None:
    from peftcore.bench.experiments._make import write_record

    if not write_record(of, store, f"python -m peftcore experiment {of.name} --record"):
        console.print(f"{of.name} has no seed with all of its cells, so it is not recorded yet.")


def _said(of: Experiment, spec: RunSpec, numbers: dict[str, Any]) -> str:
    value = next(cell.value for cell, _, other in of.points() if other.key == spec.key)
    reached = "diverged" if numbers[value] is None else f"{numbers[value] * of.scale:.3g}"
    return f"{spec.method.card.title} on {spec.backbone}, seed {spec.seed}: {reached}, {numbers['cpu']} s"


def _value(of: Standing) -> dict[str, Any]:
    own = of.experiment
    return {
        "name": own.name, "title": own.title, "paper": METHODS.facts(own.paper).title, "asks": own.asks, "x": own.x,
        "y": own.y, "measured": of.total - len(of.missing), "of": of.total, "earlier": of.old, "answer": of.answer,
        "rows": of.rows,
    }  # fmt: skip


def _line(of: Standing) -> dict[str, Any]:
    done = f"{of.total - len(of.missing)} of {of.total}"
    return {"name": of.experiment.name, "question": of.experiment.title, "measured": done, "answer": of.answer or "–"}


def _table(of: Standing) -> list[dict[str, Any]]:
    places = dict.fromkeys((row["group"], row["x"]) for row in of.rows)
    lines = []
    for group, x in places:
        values = [row["value"] for row in of.rows if (row["group"], row["x"]) == (group, x)]
        span = f"{min(values):.3g} to {max(values):.3g}" if len(values) > 1 else ""
        mean = sum(values) / len(values)
        lines.append({"group": group, of.experiment.x: x, of.experiment.y: f"{mean:.3g}", "seeds": span})
    return lines
