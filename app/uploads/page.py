"""Bringing one's own images: drop an archive or a folder, look at what is in it, keep it. The sets that are kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import streamlit as st

from app import background, errors, navigation, state, words
from app.desk import Desk, Job
from app.room import who
from app.uploads import survey_view
from app.worker import Left
from peftcore.engine.room import shelf
from peftcore.errors import HeadroomError
from peftcore.figures.words import human_count, si_bytes
from peftcore.store import RunRecord
from peftcore.uploads import kinds
from peftcore.uploads.limits import Limits
from peftcore.uploads.sets import Kept, kept_set, kept_task

WORK, ROUND, DONE = "upload_work", "upload_round", "upload_done"
LOOK = ":material/imagesmode:"
AT_ONCE = 2  # uploads that are examined at a time; of one person's, one
LAYOUTS = {
    "A folder for each class": "flowers.zip\n├── daisy\n│   ├── 1.jpg\n│   └── 2.jpg\n└── rose\n    └── 1.jpg",
    "Train, val and test in it": "flowers.tar.gz\n├── train\n│   ├── daisy\n│   └── rose\n├── val\n└── test",
    "Files and a table": "flowers.zip\n├── labels.csv\n│     1.jpg, daisy\n│     2.jpg, rose\n├── 1.jpg\n└── 2.jpg",
}


@dataclass
class Work:
    """An upload that is being examined, or was: `job` gives an `survey_view.Found`."""

    name: str
    what: str = "Waiting for other uploads"
    share: float = 0.0
    stopped: bool = False
    job: Job | None = field(default=None, repr=False)

    def tell(self, what: str, share: float) -> None:
        """Unlike a job's own: one that has begun goes on while its reader is on another page."""
        if self.stopped:
            raise Left
        self.what, self.share = what, share


@st.cache_resource(show_spinner=False)
def _desk() -> Desk:
    return Desk(AT_ONCE)


def draw() -> None:
    """All of it, on a page that has its title already."""
    work: Work | None = st.session_state.get(WORK)
    if work is not None:
        _examined(work)
        return
    if (kept := st.session_state.get(DONE)) and kept in state.shelf().kept():
        _done(kept_set(kept))
    _ask()
    _shelf()


# ------------------------------------------------------------------------------------------- asking


def _ask() -> None:
    limits = Limits.here() if who.is_alone() else shelf.limits()
    how = st.segmented_control(
        "What do you have?", ["archive", "folder"], default="archive", required=True, key="upload_how",
        format_func={"archive": "An archive, or files", "folder": "A folder"}.__getitem__, label_visibility="collapsed",
    )  # fmt: skip
    given = st.file_uploader(
        "Drop a zip or tar of images, or the images and their table" if how == "archive" else "Drop a folder of images",
        accept_multiple_files=True if how == "archive" else "directory",
        max_upload_size=_largest(limits),
        key=f"upload_{how}_{st.session_state.get(ROUND, 0)}",
    )
    if given:
        _begin(given)
        st.rerun()
    for column, (title, tree) in zip(st.columns(len(LAYOUTS)), LAYOUTS.items(), strict=True):
        with column:
            st.markdown(f"**{title}**")
            st.code(tree, language=None)
    st.caption(
        "Zip, tar, tar.gz, tar.bz2 and tar.xz; grey, palette, transparent, 16-bit, CMYK and rotated images are read as "
        "RGB. "
        "Splits that are missing are drawn, with every class in proportion. "
        f"At most {si_bytes(limits.bytes)} and {limits.files:,} files unpacked, {limits.pixels / 1e6:.0f} megapixels "
        f"an image and {limits.all_pixels / 1e6:,.0f} together. Nothing is kept before you say so."
    )


def _largest(limits: Limits) -> int:
    """Megabytes as Streamlit counts them; the server has a limit of its own."""
    return max(1, min(limits.archive // 2**20, int(st.get_option("server.maxUploadSize"))))


def _begin(given: list[Any]) -> None:
    """Examines what was uploaded beside the page. The uploader forgets it at once, so it is in memory only as long."""
    one = len(given) == 1 and "/" not in given[0].name
    work = Work(given[0].name if one else os.path.dirname(given[0].name).split("/")[0] or f"{len(given)} files")
    source = given[0] if one else [(file.name, file) for file in given]
    work.job = _desk().alone(partial(survey_view.find, state.shelf(), source, work.tell))
    st.session_state[WORK] = work
    st.session_state.pop(DONE, None)
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1


def _reset() -> None:
    work: Work | None = st.session_state.pop(WORK, None)
    if work is not None and work.job is not None:
        work.stopped = True
        if work.job.done() and not work.job.exception():
            work.job.result().survey.discard()


# ------------------------------------------------------------------------------------------- examining, keeping


def _examined(work: Work) -> None:
    place, job = st.empty(), work.job
    assert job is not None, "work that the session holds was begun"
    if not job.done():
        with place.container():
            bar = st.empty()
            st.button("Stop", key="upload_stop", icon=":material/stop_circle:", on_click=_reset)
            background.wait(
                job,
                lambda: bar.progress(work.share, f"{errors.plain(work.name)}: {work.what[0].lower()}{work.what[1:]}"),
                place,
            )
        place.empty()
    try:
        found = job.result()
    except HeadroomError as error:
        errors.show(f"{work.name}: {error}")
        if work.name.casefold().endswith(kinds.IMAGES):
            st.caption(
                "To see where a run looks in this one image, bring it to Heads or Attention: "
                ":material/add_photo_alternate: beside the test images."
            )
            navigation.link("attention", "Look through a run")
        st.button("Choose something else", key="upload_again", icon=":material/upload:", on_click=_reset)
        return
    with errors.sentences():
        wish = survey_view.draw(found, work.name)
    row = st.columns([6, 3, 3, 2], vertical_alignment="bottom")
    with row[0]:
        name = st.text_input("Name", value=_stem(work.name), key="upload_name", max_chars=60)
    with row[1]:
        go = st.button(
            "Keep these images", key="upload_keep", type="primary", icon=":material/save:", width="stretch",
            disabled=wish is None,
            help=None if wish else "Agree to leaving out what cannot be used, or choose other shares.",
        )  # fmt: skip
    with row[2]:
        st.button("Discard", key="upload_discard", icon=":material/delete:", on_click=_reset, width="stretch")
    if go and wish:
        with errors.sentences(), st.spinner("Keeping them ..."):
            kept = state.shelf().keep(
                found.survey, name, consent=wish.consent, drop_duplicates=wish.drop_duplicates, query=wish.query
            )
        del st.session_state[WORK]
        st.session_state[DONE] = kept.name
        st.rerun()


def _stem(name: str) -> str:
    return name.split(".")[0] or "images"


def _done(kept: Kept) -> None:
    st.success(
        f"**{errors.plain(kept.name)}** is kept: {len(kept):,} images in {len(kept.classes)} classes. Its task is "
        f"{errors.code(kept.task)}.",
        icon=":material/check_circle:",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        navigation.link("launch", "Launch a run with it", task=kept.task)
        navigation.link("tasks", "Look at its images", icon=LOOK, task=kept.task)


# ------------------------------------------------------------------------------------------- what is kept


def _shelf() -> None:
    if not (names := state.shelf().kept()):
        return
    st.header("Kept on this machine", anchor=False)
    for name in names:
        row = st.columns([4, 6, 2, 2, 2], vertical_alignment="center")
        task = kept_task(name)
        try:
            kept = kept_set(name)
            text = (
                f"{len(kept):,} images, {human_count(len(kept.classes))} classes, {si_bytes(kept.bytes)}, "
                f"{words.age(kept.made)}"
            )
        except HeadroomError as error:
            text = errors.plain(str(error))
        row[0].markdown(f"**{errors.plain(name)}**")
        row[1].caption(text)
        with row[2]:
            navigation.link("tasks", "Look", icon=LOOK, task=task)
        with row[3]:
            navigation.link("launch", "Launch", task=task)
        if not who.owns_images(name):
            continue
        with row[4], st.popover("Delete", type="tertiary", icon=":material/delete:"):
            if using := _using(name):
                st.warning(_why_not_yet(using[0]), icon=":material/lock:")
            else:
                fate = "stay; others' that still wait for it will fail" if _reading(name) else "stay"
                st.markdown(f"Delete **{errors.plain(name)}** from this machine? Runs that learnt from it {fate}.")
                st.button("Delete", key=f"upload_delete_{name}", type="primary", on_click=_remove, args=(name,))


def _reading(name: str) -> list[RunRecord]:
    """Runs that are still to read these images."""
    records = state.store().runs(status=("queued", "running"), limit=1000)
    return [one for one in records if one.spec["task"].partition("?")[0] == f"upload:{name}"]


def _using(name: str) -> list[RunRecord]:
    """Those of them that keep the images from being deleted. Others' runs that only wait do not: whoever owns the
    images could not stop them, and may never see the last of them."""
    return [one for one in _reading(name) if one.status == "running" or who.owns(one)]


def _why_not_yet(run: RunRecord) -> str:
    if who.owns(run):
        return f"Run {run.id} trains on these images; stop it first."
    owner = errors.plain(run.owner)
    if not owner:
        return f"The teacher's run {run.id} trains on these images. Wait for its end, or ask the teacher to stop it."
    return f"{owner}'s run {run.id} trains on these images. Wait for its end, or ask {owner} or the teacher to stop it."


def _remove(name: str) -> None:
    if not _using(name):
        with errors.sentences(stop=False):
            state.shelf().remove(name)
