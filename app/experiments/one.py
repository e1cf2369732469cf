"""One experiment: the question, the figure with its answer, what more would take, and the button that begins it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import background, caps, captions, errors, libraries, live, navigation, screen, state, theme, words
from app.drawn import plan
from peftcore.bench.experiments import experiment
from peftcore.bench.experiments._known import Standing, expected_seconds, from_record, recorded_specs, standing
from peftcore.bench.experiments._make import kept
from peftcore.figures.experiments import outcome
from peftcore.spec import RunSpec
from peftcore.store import WAITING, RunRecord, conditions

LINE = {True: 38, False: 110}  # letters of a title's line, on a phone and elsewhere
_ASKED = "experiments_asked"  # in the session: experiments whose predictions were asked for
MEASURED = {"memory": "Predict", "time": "Measure"}  # on the button, of what needs no run


def draw(name: str) -> None:
    """The experiment; live while runs of it wait or work. What was recorded shows before PyTorch is loaded."""
    own = experiment(name)
    with st.container(key="task_back"):
        navigation.link("experiments", "All experiments", icon=":material/apps:")
    st.markdown(errors.plain(own.asks))
    if not libraries.loaded():
        if recorded := from_record(own):
            _outcome(recorded, recorded_specs(own))
        libraries.ready()
        st.rerun()
    of = standing(own, state.store())
    if of.experiment.measure == "accuracy":
        live.draw(_view, name, is_live=bool(_working(of)), least=2.0)
        return
    _outcome(of, _specs(of))
    _measure(of)


@errors.sentences()
def _view(name: str, was_live: bool) -> None:
    of = standing(experiment(name), state.store())
    working = _working(of)
    if bool(working) != was_live:
        st.rerun()
    _outcome(of, _specs(of))
    _bill(of, working)


def _specs(of: Standing) -> list[dict[str, Any]]:
    return list({spec.key: spec.to_dict() for *_, spec in of.experiment.points()}.values())


def _outcome(of: Standing, specs: list[dict[str, Any]]) -> None:
    own = of.experiment
    if not of.rows:
        st.info(
            "Nothing was measured for this question yet. Begin it below, or with the command: "
            + errors.code(f"python -m peftcore experiment {own.name}"),
            icon=":material/science:",
        )
        return
    title = of.answer.split("; ")[0].split(". ")[0].rstrip(".") or f"{len(of.rows)} numbers so far"
    if len(title) + 1 < len(of.answer):
        st.markdown(f"**{errors.plain(of.answer)}**")
    if of.old:
        st.caption("Recorded with earlier weights or recipes than this Headroom has; begin below for today's.")
    figure = plan(
        outcome, of.rows, title=title, x=own.x, y=own.y, log=own.log, dark=theme.is_dark(),
        line=LINE[screen.is_phone()], note="bars span the seeds" if of.seeds > 1 else "",
    )  # fmt: skip
    theme.show(figure, "experiment", alt=of.answer or title)
    captions.caption(_conditions(of, specs), f"python -m peftcore experiment {own.name}")


def _conditions(of: Standing, specs: list[dict[str, Any]]) -> str:
    own = of.experiment
    seeds = f"{of.seeds} seeds. " if of.seeds > 1 else ""
    failed = f"{of.failed} runs diverged and are left out. " if of.failed else ""
    if own.measure == "memory":
        return f"Predicted by the ledger for a processor, without weights or data. {own.note} {captions.POWERS}".strip()
    if own.measure == "time":
        return f"{seeds}{own.note}".strip()
    tasks = ", ".join(f"{words.task_title(task)} ({task})" for task in dict.fromkeys(map(_task, specs)))
    backbones = ", ".join(dict.fromkeys(spec["backbone"] for spec in specs))
    return (
        f"{tasks} on {backbones}; each method with its recipe. {own.note} {seeds}{failed}"
        f"Conditions: {conditions.in_common(specs)}."
    )


def _task(spec: dict[str, Any]) -> str:
    """Its name, as answers have it; of few images of a task, that task's: how many there are is on an axis."""
    return spec["task"].partition("?")[0].rpartition(":")[2]


def _working(of: Standing) -> list[RunRecord]:
    """Runs of this home that wait or work, and are of this experiment."""
    wanted = {spec.to_json() for spec in of.missing}
    if not wanted:
        return []
    return [run for run in state.store().runs(status=WAITING) if RunSpec.of(run.spec).to_json() in wanted]


def _bill(of: Standing, working: Sequence[RunRecord]) -> None:
    """What is left, what it takes, and the buttons."""
    if not of.missing:
        st.caption(f"All {of.total} runs are here.")
        return
    done = of.total - len(of.missing)
    if working:
        st.progress(done / of.total, text=f"{done} of {of.total} runs finished; {len(working)} wait or work")
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button("Stop", key="experiment_stop", icon=":material/stop_circle:"):
                for run in working:
                    state.engine().cancel(run.id)
                st.rerun()
            for race, alone in dict.fromkeys((run.race, None if run.race else run.id) for run in working):
                navigation.link("runs", f"Watch race {race}" if race else f"Watch run {alone}", race=race, run=alone)
        return
    seconds = expected_seconds(of.missing, state.store())
    takes = f"about **{words.duration(seconds)}** of one core" if seconds else "no time estimate yet"
    there = f"{done} of {of.total} runs are here already. " if done else ""
    st.markdown(f"{there}**{len(of.missing)} runs** to make, {takes}; what is finished is never run again.")
    if st.button(
        f"Launch {len(of.missing)} runs", key="experiment_launch", type="primary", icon=":material/rocket_launch:"
    ):
        with errors.sentences(stop=False):
            caps.submit_race(of.missing)
            st.rerun()


def _measure(of: Standing) -> None:
    """Predictions and step times, one after the other in a process beside the app."""
    if not of.missing:
        return
    asked, name = st.session_state.setdefault(_ASKED, set()), of.experiment.name
    done = of.total - len(of.missing)
    if name not in asked:
        verb = MEASURED[of.experiment.measure]
        st.markdown(f"{done} of {of.total} numbers are here; each of the others takes seconds.")
        if st.button(
            f"{verb} {len(of.missing)}", key="experiment_measure", type="primary", icon=":material/calculate:"
        ):
            asked.add(name)
            st.rerun()
        return
    spec = of.missing[0]
    if st.button("Stop", key="experiment_stop", icon=":material/stop_circle:"):
        asked.discard(name)
        st.rerun()
    job, busy = (
        background.apart(("experiment", name, spec.key), kept, of.experiment.measure, spec.to_dict()),
        st.empty(),
    )
    text = f"{done} of {of.total}: {spec.method.card.title} on {spec.backbone}"
    background.wait(job, lambda: busy.progress(done / of.total, text=text), busy)
    result = job.result()
    if isinstance(result, Exception):
        asked.discard(name)
        errors.show(result if isinstance(result, errors.HeadroomError) else str(result))
        return
    st.rerun()
