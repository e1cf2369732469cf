"""One race: its progress, the curves of its variations on one axis, and their ranking, which settles as they train."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import caps, errors, live, navigation, screen, state, theme, turns, words
from app.captions import caption
from app.drawn import plan
from app.room import who
from app.runs import put_away, races, ranking, selection
from app.runs.races import Runner
from peftcore.figures import races as figures
from peftcore.figures.accuracy import apart
from peftcore.figures.words import how_many
from peftcore.store import WAITING, RunRecord, conditions

HEIGHT, STACKED = 330, 620  # of the curves' place, pixels: beside each other, and on a phone
EDGE = 8  # of which the place needs for itself


@errors.sentences()
def draw(race: int) -> None:
    """The race, live until its last variation ends."""
    live.draw(_view, race, is_live=races.busy(state.store().runs(race=race)))


@errors.sentences()
def _view(race: int, was_live: bool) -> None:
    runners = races.runners(race)
    if races.busy([runner.record for runner in runners]) != was_live:
        st.rerun()
    _header(race, runners)
    with st.container():
        st.progress(*_progress(runners))
    _curves(race, runners)
    ranking.draw(runners)
    _caption(race, runners)


def _header(race: int, runners: Sequence[Runner]) -> None:
    """Title and the buttons that fit the state."""
    specs = [runner.record.spec for runner in runners]
    title, actions = st.columns([3, 2])
    title.subheader(
        f"Race {race}: {errors.plain(words.race_title(specs))} :small[:gray[{_state(runners)}]]", anchor=False
    )
    with actions.container(horizontal=True, horizontal_alignment="right"):
        records = [runner.record for runner in runners]
        if not all(map(who.owns, records)):
            st.caption(f":material/person: {errors.plain(records[0].owner or 'The teacher')}", width="content")
        elif races.busy(records):
            stopping = all(record.stop_wanted for record in records if record.status in WAITING)
            if st.button(
                "Stopping" if stopping else "Stop all", key="stop", icon=":material/stop_circle:", disabled=stopping
            ):
                state.engine().cancel_race(race)
                st.rerun()
        elif any(record.status != "finished" for record in records) and st.button(
            "Resume",
            key="resume",
            type="primary",
            icon=":material/resume:",
            disabled=who.is_shut(),
        ):
            caps.resume_race(race)
            st.rerun()
        if chosen := races.remembered(race):
            navigation.link("launch", "Launch again", **races.preset(**chosen))
        if all(map(who.owns, records)):
            with st.popover("", icon=":material/more_vert:", type="tertiary", help="Archive, delete"):
                put_away.buttons(records, "race")
        if len(records) > 1:
            navigation.link("compare", runs=",".join(str(record.id) for record in records[:12]))


def _state(runners: Sequence[Runner]) -> str:
    """'4 runs, 3 finished, 1 failed'."""
    states = [runner.record.status for runner in runners]
    counts = [f"{states.count(status)} {status}" for status in dict.fromkeys(sorted(states, key=selection.ORDER.index))]
    said = how_many(len(states), "run")
    if len(set(states)) == 1:
        return f"{said}, {'all ' * (len(states) > 1)}{states[0]}"
    return ", ".join([said, *counts])


def _progress(runners: Sequence[Runner]) -> tuple[float, str]:
    """The share of all steps that are taken, and what is happening."""
    share = sum(runner.share for runner in runners) / len(runners)
    if not races.busy([runner.record for runner in runners]):
        ended = sum(runner.record.status == "finished" for runner in runners)
        return share, "Finished." if ended == len(runners) else f"Ended: {ended} of {len(runners)} finished."
    working = [runner for runner in runners if runner.record.status == "running"]
    if not working:
        return share, _why_it_waits(runners)
    if coming := next((r.follower.download for r in working if r.follower.download), None):
        return share, errors.plain(words.download(coming)[1])
    caching = next((r.follower.progress for r in working if r.follower.progress and not r.follower.steps), None)
    if caching:
        what = f"{caching['what'].capitalize()}: {caching['done']:,} of {caching['total']:,} images"
        return max(share, 0.0), what
    if not any(runner.follower.steps for runner in working):
        return share, "Loading PyTorch, the backbone and the task"
    text = f"{len(working)} of {len(runners)} at work"
    left = [seconds for runner in working if (seconds := runner.follower.seconds_left()) is not None]
    if left and max(left) > 0.5:
        text += f", about {words.duration(max(left))} left"
    waiting = sum(runner.record.status == "queued" for runner in runners)
    return share, text + (f" for those, {waiting} more wait for their turn" if waiting and left else "")


def _why_it_waits(runners: Sequence[Runner]) -> str:
    return turns.of([runner.record.id for runner in runners if runner.record.status == "queued"])


def _curves(race: int, runners: Sequence[Runner]) -> None:
    stacked = screen.is_phone()
    height = STACKED if stacked else HEIGHT
    with st.container(height=screen.tall(height), border=False):
        leader = next((nth for nth, runner in enumerate(runners) if runner.place == 1), None)
        figure = plan(
            figures.race_curves,
            [runner.lane() for runner in runners],
            max(runner.record.spec["epochs"] for runner in runners),
            title=_finding(runners),
            leader=leader,
            chance=next((runner.ground.chance for runner in runners if runner.ground), None),
            dark=theme.is_dark(),
            stacked=stacked,
            height=height - EDGE,
        )
        specs = [runner.record.spec for runner in runners]
        theme.show(figure, key=f"race_curves_{race}", spec=specs[0] if all(map(words.random_weights, specs)) else None)


def _finding(runners: Sequence[Runner]) -> str:
    """Who leads, and by how much."""
    order = sorted((runner for runner in runners if runner.place), key=lambda runner: runner.place or 0)
    if not order:
        return "No run has finished an epoch yet"
    first, best, ground = order[0], order[0].accuracy, order[0].ground
    assert best is not None and ground is not None, "one with a place was evaluated"
    reached = ground.read(best)
    over = "leads" if races.busy([runner.record for runner in runners]) else "wins"
    if len(order) == 1:
        others = f"; no other has a value{' yet' * (over == 'leads')}" if len(runners) > 1 else ""
        return _capital(f"{first.label} has {reached} on validation images{others}")
    second, behind, other = order[1], order[1].accuracy, order[1].ground
    assert behind is not None and other is not None
    gap = best - behind
    if gap < 5e-4:
        return _capital(f"{first.label} and {second.label} are level at {reached}")
    clear = apart(best, behind, ground, other)
    if ground.at_chance(best):
        return f"All stay at chance: the best, {first.label}, has {best:.3f}, chance {ground.chance:.3f}"
    if clear is False:
        return (
            f"No clear {'leader yet' if over == 'leads' else 'winner'}: {first.label} {best:.3f} and "
            f"{second.label} {behind:.3f} differ by less than their intervals"
        )
    if clear is None and over == "wins":  # an older run does not know its number of images
        over = "ends first"
    return _capital(f"{first.label} {over} with {reached}, {gap:.3f} ahead of {second.label}")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _caption(race: int, runners: Sequence[Runner]) -> None:
    spec, chosen = runners[0].record.spec, races.remembered(race)
    shared = conditions.in_common([r.record.spec for r in runners], [r.follower.started for r in runners])
    together = sum(runner.follower.started["method_kind"] == "side" for runner in runners if runner.follower.started)
    caption(
        f"Race {race} on {words.task_title(spec['task'])}, {spec['backbone']}{words.random_weights(spec)}. "
        "Loss on training images, smoothed; accuracy on validation images after each epoch, by which they are ranked, "
        f"so the test images chose nothing; beside an accuracy, its 95 % interval. All: {shared}. "
        + (f"{together} side networks read one set of frozen features." if together > 1 else ""),
        words.command(chosen["spec"], "race", chosen["several"]) if chosen else None,
    )


def back(record: RunRecord) -> None:
    """From a run to its race; says what sets the run apart in it."""
    records = state.store().runs(race=record.race)[::-1]
    names = races.labels([other.spec for other in records])
    own = next(name for other, name in zip(records, names, strict=True) if other.id == record.id)
    st.button(f"Race {record.race}: {errors.plain(own)}", key="to_race", icon=":material/arrow_back:", type="tertiary",
              on_click=selection.choose, kwargs={"race": record.race}, help="All variations of this race")  # fmt: skip
