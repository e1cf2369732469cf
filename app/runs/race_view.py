"""One race: its progress, the curves of its variations on one axis, and their ranking, which settles as they train."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import streamlit as st

from app import caps, errors, navigation, screen, state, theme, turns, words
from app.captions import caption
from app.drawn import plan
from app.room import who
from app.runs import put_away, races, selection
from app.runs.races import Runner
from peftcore.figures import races as figures
from peftcore.figures.accuracy import Ground, apart
from peftcore.store import WAITING, RunRecord, conditions

LIVE_SECONDS = 1.0
HEIGHT, STACKED = 330, 620  # of the curves' place, pixels: beside each other, and on a phone
EDGE = 8  # of which the place needs for itself
COLUMNS = (0.4, 3.4, 2.3, 1.1, 1.2, 1.8, 2.2)
HEADS = ("", "\N{EM SPACE}variation", "validation accuracy", "loss", "time", "test accuracy", "")
# SVG paths in a box of 14 x 14 of Plotly's symbols, so that a row and its curve have the same mark.
SHAPES = {
    "circle": '<circle cx="7" cy="7" r="5.5"',
    "square": '<rect x="2" y="2" width="10" height="10"',
    "triangle-up": '<path d="M7 1.5 13 12.5H1z"',
    "diamond": '<path d="M7 .5 13.5 7 7 13.5.5 7z"',
    "cross": '<path d="M5 1h4v4h4v4H9v4H5V9H1V5h4z"',
    "x": '<path d="M4 1 7 4l3-3 3 3-3 3 3 3-3 3-3-3-3 3-3-3 3-3-3-3z"',
    "star": '<path d="M7 .5 8.7 5h4.8L9.7 8l1.4 4.8L7 10l-4.1 2.8L4.3 8 .5 5h4.8z"',
    "triangle-down": '<path d="M7 12.5 13 1.5H1z"',
    "pentagon": '<path d="M7 1 13 5.5 10.7 12.8H3.3L1 5.5z"',
    "hexagram": '<path d="M7 .5 9 3.8h3.8L10.9 7l1.9 3.2H9L7 13.5 5 10.2H1.2L3.1 7 1.2 3.8H5z"',
}


def draw(race: int) -> None:
    """The race, live until its last variation ends."""
    live = races.busy(state.store().runs(race=race))
    st.fragment(_view, run_every=LIVE_SECONDS if live else None)(race, live)


@errors.sentences()
def _view(race: int, was_live: bool) -> None:
    runners = races.runners(race)
    if races.busy([runner.record for runner in runners]) != was_live:
        st.rerun()
    _header(race, runners)
    with st.container():
        st.progress(*_progress(runners))
    _curves(race, runners)
    _ranking(runners)
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
            "Resume", key="resume", type="primary", icon=":material/resume:"
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
    return (
        f"{len(states)} runs, all {states[0]}" if len(set(states)) == 1 else ", ".join([f"{len(states)} runs", *counts])
    )


def _progress(runners: Sequence[Runner]) -> tuple[float, str]:
    """The share of all steps that are taken, and what is happening."""
    share = sum(runner.share for runner in runners) / len(runners)
    if not races.busy([runner.record for runner in runners]):
        ended = sum(runner.record.status == "finished" for runner in runners)
        return share, "Finished." if ended == len(runners) else f"Ended: {ended} of {len(runners)} came to the finish."
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
        return _capital(f"{first.label} has {reached} on validation images; no other has a value yet")
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


def _ranking(runners: Sequence[Runner]) -> None:
    """A row for each variation, the leader first; the marks are those of the curves."""
    dark = theme.is_dark()
    colours = figures.lane_colours([runner.record.spec["method"]["name"] for runner in runners], dark)
    marks = [_mark(colour, shape) for colour, shape in zip(colours, figures.lane_symbols(len(runners)), strict=True)]
    order = sorted(range(len(runners)), key=lambda nth: (runners[nth].place or len(runners) + 1, nth))
    if screen.is_phone():
        for nth in order:
            _lines(runners[nth], marks[nth])
        return
    with st.container(gap=None):
        for head, place in zip(HEADS, st.columns(COLUMNS, vertical_alignment="bottom"), strict=True):
            place.markdown(f":small[:gray[{head}]]" if head else "")
        for nth in order:
            _row(runners[nth], marks[nth])


def _row(runner: Runner, mark: str) -> None:
    record, place = runner.record, runner.place
    columns = st.columns(COLUMNS, vertical_alignment="center")
    columns[0].markdown(f"**{place}**" if place else ":gray[\N{EN DASH}]")
    with columns[1]:
        _opens(runner, mark)
    for column, number in zip(columns[2:6], _numbers(runner), strict=True):
        column.markdown(number)
    columns[6].markdown(
        f"{selection.ICONS[record.status]} :small[{_where(runner)}]", help=errors.plain(record.error or "") or None
    )


def _lines(runner: Runner, mark: str) -> None:
    """A row on a phone: each number behind its label."""
    with st.container(gap=None, border=True, key=f"card_lane_{runner.record.id}"):
        _opens(runner, f"{runner.place or ''} {mark}")
        labelled = [
            f":gray[{head}] {number}" for head, number in zip(HEADS[2:6], _numbers(runner), strict=True) if number
        ]
        state = f"{selection.ICONS[runner.record.status]} :small[{_where(runner)}]"
        st.markdown("  \n".join([*labelled, state]), help=errors.plain(runner.record.error or "") or None)


def _opens(runner: Runner, mark: str) -> None:
    """The variation's name, which opens its run."""
    bold = "**" if runner.place == 1 else ""
    st.button(
        f"{mark} {bold}{errors.plain(runner.label)}{bold}",
        key=f"run_lane_{runner.record.id}",
        type="tertiary",
        on_click=selection.choose,
        kwargs={"run": runner.record.id},
        help=f"Open run {runner.record.id}",
        width="stretch",
    )


def _numbers(runner: Runner) -> list[str]:
    """What stands under HEADS: validation accuracy, loss, time, test accuracy; '' for what is not there yet."""
    record, test = runner.record, runner.record.summary.get("test_accuracy")
    return [
        "" if runner.accuracy is None else f"{runner.accuracy:.3f}{_sure(runner, 'val', runner.accuracy)}",
        "" if runner.loss is None else f"{runner.loss:.3f}",
        "" if record.seconds is None else words.duration(record.seconds),
        "" if test is None else f"{test:.3f}{_sure(runner, 'test', test)}",
    ]


def _sure(runner: Runner, split: str, accuracy: float) -> str:
    """The 95 % interval, small, behind an accuracy."""
    sure = Ground.of(runner.follower.started, split).text(accuracy) if runner.follower.started else ""
    return f" :small[:gray[{sure}]]" if sure else ""


def _where(runner: Runner) -> str:
    if runner.record.status != "running":
        return runner.record.status
    if not runner.follower.steps:
        return "preparing"
    return f"epoch {runner.follower.steps[-1]['epoch']} of {runner.record.spec['epochs']}"


def _mark(colour: str, symbol: str) -> str:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="14" height="14">{SHAPES[symbol]} fill="{colour}"/></svg>'
    return f"![{symbol}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


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
