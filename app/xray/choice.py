"""The drop zone of the X-ray page, and which adapter is looked at and beside which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import streamlit as st

from app import background, brought, errors, links, navigation
from app.desk import Desk
from app.xray import sources, uploads
from app.xray.sources import Source
from peftcore.errors import HeadroomError

NONE = Source("none", "nothing")
ROUND, WORK, FAULT = "xray_round", "xray_work", "xray_fault"  # in the session
HELP = (
    "adapter_model.safetensors with adapter_config.json (Hugging Face PEFT), adapter.safetensors (Headroom), a "
    "PETL-ViT .bin file, or a zip of a folder. Pickles are not opened."
)


@st.cache_resource(show_spinner=False)
def _desk() -> Desk:
    return Desk(2)


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with a drop is said until the next one."""
    try:
        yield
    except HeadroomError as error:
        st.session_state[FAULT] = str(error)


def drop() -> None:
    """The place where files are dropped; they are unpacked beside the page and kept, and the page shows them."""
    given = st.file_uploader(
        f"Drop an adapter: {HELP}", accept_multiple_files=True, key=f"xray_drop_{st.session_state.get(ROUND, 0)}"
    )
    if given:
        st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1  # a new uploader, which holds nothing
        st.session_state.pop(FAULT, None)
        with _told():
            files = [uploads.File(file.name, file.getvalue()) for file in given]
            st.session_state[WORK] = _desk().alone(partial(uploads.keep, files, brought.owner()))
        st.rerun()
    if (job := st.session_state.get(WORK)) is not None:
        place = st.empty()
        background.wait(job, lambda: place.caption("Unpacking what you dropped ..."), place)
        place.empty()
        del st.session_state[WORK]
        with _told():
            links.write(adapter=sources.of_upload(job.result())[0].code, heads=None, scale=None)
    if fault := st.session_state.get(FAULT):
        errors.show(fault)


def choose() -> tuple[Source, Source | None]:
    """The adapter that is looked at and the one beside it, of which there may be none."""
    offered = sources.offered([asked for name in ("adapter", "beside") if (asked := links.read(name))])
    if not offered:
        st.info("There is no adapter to look at yet. Drop one above, or train one.", icon=":material/radiology:")
        navigation.link("launch", "Launch LoRA", method="lora")
        st.stop()
    left, right = st.columns(2)
    for name in ("adapter", "beside"):
        asked = links.read(name)
        errors.no_such("adapter", None if asked == NONE.code else asked, [one.code for one in offered])
    with left:
        first = _pick("adapter", "adapter", offered, sources.default(offered), clears=("heads", "scale"))
    with right:
        second = _pick("beside", "beside", [NONE, *(one for one in offered if one != first)], NONE)
    return first, None if second == NONE else second


def _pick(name: str, label: str, offered: Sequence[Source], default: Source, clears: Sequence[str] = ()) -> Source:
    return links.choice(
        st.selectbox, "xray", name, label, offered, default=default, clears=clears,
        show=lambda source: source.title, code=lambda source: source.code,
    )  # fmt: skip
