"""Several runs side by side on one image: their classes with probabilities, and where each looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from time import monotonic

import streamlit as st

from app import background, cached, captions, errors, heavy, libraries, links, navigation, screen, subjects, theme
from app.drawn import plan
from app.try_it import answers, images, named
from app.try_it.answers import Answer
from peftcore.errors import HeadroomError
from peftcore.figures.answers import likeliest
from peftcore.figures.attention import attention_overlay
from peftcore.figures.attribution import explained_image
from peftcore.figures.words import percent

MOST = 4  # runs side by side
FIRST = 3  # of the newest runs, before the reader chooses
SIZE = 262  # pixels of a map: four in a row of a page 1280 wide


def draw() -> None:
    """The choice of runs, the image, and what they say of it."""
    runs = _choose()
    image = images.choose(runs)
    if not runs:
        st.info(f"Choose up to {MOST} runs to ask.", icon=":material/help:")
        return
    if not all(heavy.agreed_for(run.spec, "to ask it", key=f"try_it_{nth}") for nth, run in enumerate(runs)):
        return
    libraries.ready()
    jobs = [answers.ask(run, image) for run in runs]
    _wait(jobs)
    _agreement(runs, jobs, image)
    columns = st.columns(len(runs), gap="small")
    for nth, (run, job, column) in enumerate(zip(runs, jobs, columns, strict=True)):
        with column:
            _one(run, job.result(), image, nth)
    _caption(runs, image)


def _choose() -> list[subjects.Run]:
    """Up to four runs; by default the newest ones on one task, else recorded examples."""
    offered = subjects.runs("adapter")
    codes = {run.subject.id: run for run in offered}
    named = subjects.each_once(links.listed("runs"))
    for code in named[:MOST]:
        if code not in codes:
            with errors.sentences(stop=False):
                codes[code] = subjects.run(subjects.named(code))
    if len(named) > MOST:
        st.info(f"At most {MOST} runs answer side by side; the first {MOST} are shown.", icon=":material/info:")
    first = [run for run in offered if run.spec["task"] == offered[0].spec["task"]] if offered else []
    chosen = links.several(
        "try_it", "runs", "runs", list(codes), default=[run.subject.id for run in first[:FIRST]],
        show=lambda code: codes[code].title, read=subjects.plain, max_selections=MOST, placeholder=f"up to {MOST} runs",
    )  # fmt: skip
    found = [codes[code] for code in chosen[:MOST]]
    if found and all(run.example for run in found):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption("These are recorded examples: real runs that travel with Headroom.", width="content")
            navigation.link("try_it", "Teach one of your own", view="teach")
    return found


def _wait(jobs: Sequence) -> None:
    place, began = st.empty(), monotonic()
    for job in jobs:
        background.wait(job, lambda: place.caption(_waiting(jobs, monotonic() - began)), place)
    place.empty()


def _waiting(jobs: Sequence, seconds: float) -> str:
    done = sum(job.done() for job in jobs)
    return f"Asking: {done} of {len(jobs)} runs have answered, {seconds:.0f} s so far."


def _agreement(runs: Sequence[subjects.Run], jobs: Sequence, image: str) -> None:
    """What most of the runs say, of those that know the same classes."""
    told = [(answers.classes(run), found) for run, job in zip(runs, jobs, strict=True)
            if isinstance(found := job.result(), Answer)]  # fmt: skip
    said = [classes[int(found.probabilities.argmax())] for classes, found in told if classes == told[0][0]]
    about = f"**{errors.plain(named.in_words(image))}**"
    if len(said) > 1:
        name, count = Counter(said).most_common(1)[0]
        every = "both" if len(said) == 2 else f"all {len(said)}"
        who = every if count == len(said) else f"{count} of {len(said)}"
        about += f": {who} runs say **{errors.plain(name)}**" if count > 1 else ": each run says something different"
    if len(said) < len(told):
        about += ". Runs that know other classes choose among theirs"
    st.markdown(f"{about}.")


def _one(run: subjects.Run, found: Answer | HeadroomError, image: str, nth: int) -> None:
    if run.example:
        st.markdown(f"**{errors.plain(_name(run))}**")
    else:
        navigation.link("runs", _name(run), run=run.subject.id)
    if isinstance(found, HeadroomError):
        errors.show(found)
        return
    figure = plan(
        likeliest, found.probabilities, answers.classes(run), method=run.method, true=_true(run, image),
        width=screen.fit(SIZE)["width"], dark=theme.is_dark(),
    )  # fmt: skip
    theme.show(figure, f"try_it_classes_{nth}", spec=run.spec)
    pixels = named.array(run, image)
    if found.gaze is None:
        figure = plan(
            explained_image, pixels, title="No map of where it looks", **screen.fit(SIZE), dark=theme.is_dark()
        )
        theme.show(figure, f"try_it_image_{nth}")
        st.caption(errors.plain(found.why_none))
        navigation.link("attention", "Attention of this run", run=run.subject.id)
        return
    note = f"{percent(found.gaze.prefix)} on the class token" if found.gaze.prefix >= 0.0005 else ""
    figure = plan(
        attention_overlay, pixels, found.gaze.map, title=f"Where {found.gaze.whose} looks", note=note,
        **screen.fit(SIZE), dark=theme.is_dark(),
    )  # fmt: skip
    theme.show(figure, f"try_it_attention_{nth}", spec=run.spec)


def _count(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"


def _name(run: subjects.Run) -> str:
    return run.title.partition(", ")[0]


def _true(run: subjects.Run, image: str) -> int | None:
    """The class of a test image of this run's task."""
    tested = named.tested(image)
    if tested is None or tested[0] != run.spec["task"]:
        return None
    return int(cached.task(tested[0]).test.labels[tested[1]])


def _caption(runs: Sequence[subjects.Run], image: str) -> None:
    own = " It is kept on this machine, small and without its metadata, for this link." if named.is_own(image) else ""
    captions.caption(
        f"{named.in_words(image)}, under {_count(len(runs))}: the likeliest classes with their "
        "probabilities, and the attention of the class token in the last layer, or in the last module of a side "
        f"network, mean over heads; each map has its own scale.{own} A model knows nothing but its classes: it "
        "answers on any image, and a probability is no proof."
    )
