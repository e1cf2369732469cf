"""What of a run leaves the app: each kind of export with what it is for, built when it is asked for."""

from __future__ import annotations

import json

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import errors, heavy, state
from peftcore.cli.exports import Source, as_bytes, kinds
from peftcore.figures.words import si_bytes
from peftcore.store import RunRecord

MOST_BUILT, MOST_BYTES = 6, 200_000_000  # files that a session keeps until they are downloaded, and all they hold


def draw(record: RunRecord) -> None:
    """A row for each kind: title, what it is for, and a button; or why this run cannot be exported so.

    No fragment of its own: a fragment within one that reruns on a timer keeps its place in Streamlit's queue when the
    outer one's blocks before it are dropped from there, and the browser fails at a place that does not exist.
    """
    source = Source.of(record, state.store())
    with st.expander("Take it with you", key="take_along", icon=":material/download:", on_change="rerun") as opened:
        if not opened.open:
            return
        with st.spinner("Looking at what this run can be exported as"):
            rows = [(kind, kind.why_not(source)) for kind in kinds()]
        what = "to build what takes the trained model"
        may_load = bool(source.no_model) or heavy.agreed_for(record.spec, what, key="take_along")
        for kind, why_not in rows:
            text, button = st.columns([5, 1], vertical_alignment="center")
            says = f":gray[{errors.plain(why_not)}]" if why_not else kind.purpose
            text.markdown(f"**{kind.title}.** {says}")
            _button(button.empty(), record, kind.name, disabled=bool(why_not) or (kind.loads and not may_load))
        st.caption(f"On the command line: `python -m peftcore export {record.id} --as KIND --to PATH`.")


def _button(place: DeltaGenerator, record: RunRecord, kind: str, disabled: bool) -> None:
    """Build, then download: what takes seconds to build shows that it works, and why where it fails."""
    built: dict[tuple[str, int, int, str], tuple[str, bytes]] = st.session_state.setdefault("exports_built", {})
    key = (str(state.store().folder), record.id, record.attempts, kind)
    if key not in built:
        if not place.button("Build", key=f"build_{kind}", disabled=disabled, width="stretch"):
            return
        with errors.sentences(stop=False), place.container(), st.spinner("Building"):
            built[key] = as_bytes(Source.of(record, state.store()), kind)
        if key not in built:
            return
        while len(built) > MOST_BUILT or (len(built) > 1 and sum(len(data) for _, data in built.values()) > MOST_BYTES):
            built.pop(next(iter(built)))
    name, data = built[key]
    place.download_button(
        si_bytes(len(data)),
        data,
        file_name=name,
        key=f"download_{kind}",
        type="primary",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
        help=f"Download {name}",
    )


def downloads(record: RunRecord) -> None:
    """What leaves the app: adapter, spec, command."""
    store, text = state.store(), json.dumps(record.spec, indent=2)
    with st.container(horizontal=True):
        if "adapter" in store.artifact_names(record.id):
            st.download_button(
                "Adapter",
                lambda: store.get_artifact(record.id, "adapter") or b"",
                file_name=f"run-{record.id}.safetensors",
                mime="application/octet-stream",
                key="adapter",
                icon=":material/download:",
                on_click="ignore",
            )
        st.download_button(
            "Spec",
            text,
            file_name=f"run-{record.id}.json",
            mime="application/json",
            key="spec",
            icon=":material/download:",
            on_click="ignore",
        )
        with st.popover("Show spec", type="tertiary"):
            st.code(text, language="json")
