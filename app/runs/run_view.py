"""One run: where it is, its curves while it works, and what can be done with it."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import caps, errors, glossary, links, live, navigation, state, theme, turns, words
from app.captions import POWERS
from app.heads import cut
from app.memory import cases
from app.room import who
from app.runs import (
    again,
    following,
    labels,
    meanwhile,
    predictions,
    put_away,
    race_view,
    results_view,
    run_charts,
    selection,
    take_along,
)
from app.runs.following import Follower
from peftcore.backbone.weights import Origin
from peftcore.figures.accuracy import Ground
from peftcore.figures.words import human_count, percent, si_bytes
from peftcore.store import WAITING, RunRecord, conditions, listing
from peftcore.store import trained as trained_weights
from peftcore.store.plateau import plateau

MOST_ALIKE = 5  # other runs on the task that the link to Compare brings
MOST_TITLED = 100  # newest runs with the same title, from which a run is told apart


@errors.sentences()
def draw(run: int) -> None:
    """The run, live until it ends."""
    live.draw(_view, run, is_live=not state.store().run(run).ended)


@errors.sentences()
def _view(run: int, was_live: bool) -> None:
    store = state.store()
    record = store.run(run)
    if record.deleted:
        return put_away.deleted(record)
    if record.ended == was_live:  # it ended, or somebody resumed it: the whole page has news
        st.rerun()
    follower = following.follow(store, record)
    # The same blocks in every state: what is in them changes, where they are does not.
    launch_again, remark = _header(record, follower), st.container()
    labels.shown(record)
    with st.container():
        _state(record, follower)
    if stuck := plateau(follower.evaluations):
        st.info(stuck.sentence, icon=":material/trending_flat:")
    if record.status == "finished" and _shows(record) == "results":
        results_view.draw(record)
    else:
        run_charts.draw(record, follower)
        cut.draw(record, follower)
    take_along.downloads(record)
    if record.ended:
        take_along.draw(record)
    # Last, since the methods' schemas load PyTorch in a fresh app.
    if other_version := again.why_not(record):
        remark.warning(errors.plain(other_version), icon=":material/history:")
    with launch_again:
        again.draw(record)


def alike(record: RunRecord) -> str:
    """The run and the newest finished ones on its task, as the page Compare names them."""
    others = listing.alike(state.store(), record, MOST_ALIKE, task=record.spec["task"], status="finished")
    return ",".join(str(one.id) for one in [record, *others])


def _shows(record: RunRecord) -> str:
    """Which side of a finished run the reader chose."""
    titles = {"training": "Training", "results": "Results"}
    return links.choice(
        st.segmented_control, "runs", "show", "show", list(titles), default="training",
        show=titles.__getitem__, label_visibility="collapsed",
    )  # fmt: skip


def _header(record: RunRecord, follower: Follower) -> DeltaGenerator:
    """Title, status and the buttons that fit the status; returns the place of those that launch it again."""
    if record.race is not None:
        race_view.back(record)
    title, actions = st.columns([5, 4], vertical_alignment="center")
    name = f"{errors.plain(record.name)}, " if record.name else ""
    title.subheader(
        f"{words.mark(record.spec['method']['name'], theme.is_dark())} Run {record.id}: {name}"
        f"{errors.plain(words.run_title(record.spec) + _apart(record))} "
        f":small[{selection.ICONS[record.status]} :gray[{record.status}, {words.age(_when(record))}]]",
        anchor=False,
    )
    with actions.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        if not who.owns(record):
            st.caption(f":material/person: {errors.plain(record.owner or 'The teacher')}", width="content")
        elif record.status in WAITING:
            stopping = record.stop_wanted
            if st.button(
                "Stopping" if stopping else "Stop", key="stop", icon=":material/stop_circle:", disabled=stopping
            ):
                state.engine().cancel(record.id)
                st.rerun()
        elif record.status != "finished" and st.button(
            "Resume",
            key="resume",
            type="primary",
            icon=":material/resume:",
            disabled=who.is_shut(),
        ):
            caps.resume(record.id)
            st.rerun()
        labels.star(record)
        labels.editor(record)
        if who.is_teacher():
            navigation.link(
                "room", "Project", icon=":material/slideshow:", view="projector", shows="run", run=record.id
            )
        return st.container(horizontal=True, vertical_alignment="center", width="content")


def _apart(record: RunRecord) -> str:
    """What sets it apart from the newest runs with its title; a run of a race says so above."""
    if record.race is not None:
        return ""
    same = {"method": record.spec["method"]["name"]} | {name: record.spec[name] for name in ("task", "backbone")}
    others = listing.alike(state.store(), record, MOST_TITLED, **same)
    return words.apart([record.spec, *(other.spec for other in others)])[0]


def _when(record: RunRecord) -> float:
    return record.finished or record.started or record.queued


def _state(record: RunRecord, follower: Follower) -> None:
    """Progress while it works, the result when it is there, the reason where it went wrong."""
    match record.status:
        case "queued":
            st.progress(0.0, text=turns.of([record.id]))
            meanwhile.draw(record)
        case "running":
            st.progress(*_progress(record, follower))
        case "finished":
            _result(record, follower)
        case "failed" | "interrupted":
            errors.show(record.error or "The run ended, and no reason was recorded.")
            errors.traceback(f"run {record.id}", state.store().get_artifact(record.id, "traceback"))
        case "cancelled":
            where = f"at step {follower.done:,} of {follower.total:,}" if follower.total else "before it began"
            again = "It resumes from its last checkpoint, the end of an epoch."
            if follower.download:
                where, again = "while it was downloading", "What has come is kept: it goes on from there."
            why = ", as the teacher ended the room" if who.ended_with(record) else ""
            st.info(f"Stopped {where}{why}. {again}", icon=":material/cancel:")


def _progress(record: RunRecord, follower: Follower) -> tuple[float, str]:
    """The bar's share and its words."""
    if follower.download:
        share, text = words.download(follower.download)
        return share, errors.plain(text)
    if follower.progress and not follower.steps:
        done, total = follower.progress["done"], follower.progress["total"]
        return done / max(1, total), f"{follower.progress['what'].capitalize()}: {done:,} of {total:,} images"
    if not follower.steps or follower.started is None:
        what = "Preparing the first step" if follower.started else "Loading PyTorch, the backbone and the task"
        return 0.0, f"{what}, {words.duration(record.seconds or 0)} so far"
    left = follower.seconds_left()
    epoch, epochs = follower.steps[-1]["epoch"], follower.started["epochs"]
    text = f"Epoch {epoch} of {epochs}, step {follower.done:,} of {follower.total:,}"
    if left is not None:
        text += f", about {words.duration(left)} left" if left > 0.5 else ", evaluating"
    return follower.done / max(1, follower.total), text


def _result(record: RunRecord, follower: Follower) -> None:
    """The numbers that a reader wants first, the settings that stand beside them, and where to look next."""
    if not follower.started:
        return
    summary, started = record.summary, follower.started
    first = started["parameters"]
    counts, trained = trained_weights.counts(started, follower.cut), trained_weights.trained(started, follower.cut)
    peak = summary["memory"].get("peak", 0)
    of_the_backbone = f"{percent(trained / counts['backbone'])} of the backbone's {counts['backbone']:,}"
    before = f" Before heads were switched off, {first['method']:,} in the method." if counts != first else ""
    columns = st.columns(4)
    told_conditions = conditions.of_run(record.spec, started)
    told_conditions = conditions.with_epoch(record.spec, told_conditions, summary.get("selected_epoch"))
    if (accuracy := summary.get("test_accuracy")) is None:
        columns[0].metric("Test accuracy", "sealed", help="The teacher reveals it at the end of the challenge.")
    else:
        _accuracy(columns[0], accuracy, Ground.of(started, "test"), told_conditions[0])
    columns[1].metric(
        "Trained weights",
        human_count(trained),
        help=glossary.linked(
            f"{counts['method']:,} in the method and {counts['head']:,} in the classifier: {of_the_backbone}.{before}"
        ),
    )
    columns[2].metric("Peak memory", si_bytes(peak), help=f"Of one training step, measured. {POWERS}")
    exactly = f"{summary['seconds']:.1f} seconds on {started['device']}"
    columns[3].metric("Duration", words.duration(summary["seconds"]), help=exactly)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("Open in", width="content")
        for page in ("heads", "attention"):
            navigation.link(page, run=record.id)
        navigation.link("memory", **cases.preset(record.spec))
        navigation.link("compare", runs=alike(record))
    settings = started["settings"]
    st.caption(
        f"Validation accuracy {Ground.of(started, 'val').read(summary['val_accuracy'])}. "
        f"{told_conditions[0].upper()}{told_conditions[1:]}. "
        f"Seed {record.spec['seed']}, weight decay {settings['weight_decay']:g}, "
        f"{'pretrained' if settings['pretrained'] else 'random'} backbone; the test images chose nothing. "
        + predictions.sentence(record)
        + (f" {Origin(**settings['weights']).sentence}." if settings.get("weights") else "")
    )


def _accuracy(place: DeltaGenerator, accuracy: float, ground: Ground, told_conditions: str) -> None:
    """The test accuracy, with what it stands on."""
    share = f"Share of the test images classified correctly. {told_conditions[0].upper()}{told_conditions[1:]}."
    sure = f"95 %: {ground.text(accuracy)}" if ground.images else None
    if ground.images:
        share += f" Of {ground.images:,} images, so its 95 % interval (Wilson) is {ground.text(accuracy)}."
    place.metric(
        "Test accuracy",
        f"{accuracy:.3f}",
        delta=f"at chance, {ground.chance:.3f}" if ground.at_chance(accuracy) else sure,
        delta_color="inverse" if ground.at_chance(accuracy) else "off",
        delta_arrow="off",
        help=glossary.linked(share),
    )
