"""The drop zone of the X-ray page, and which adapter is looked at and beside which."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import brought, errors, links, navigation
from app.xray import sources, uploads
from app.xray.sources import Source
from peftcore.errors import HeadroomError

NONE = Source("none", "nothing")
ROUND, FAULT = "xray_round", "xray_fault"  # in the session
HELP = (
    "adapter_model.safetensors with adapter_config.json (Hugging Face PEFT), adapter.safetensors (Headroom), a "
    "PETL-ViT .bin file, or a zip of a folder. Pickles are not opened."
)


def drop() -> None:
    """The place where files are dropped; they are kept, and the page shows them."""
    key = f"xray_drop_{st.session_state.get(ROUND, 0)}"

    def keep() -> None:
        given = st.session_state[key]
        if not given:
            return
        st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1
        st.session_state.pop(FAULT, None)
        try:
            code = uploads.keep([uploads.File(file.name, file.getvalue()) for file in given], brought.owner())
        except HeadroomError as error:
            st.session_state[FAULT] = str(error)
            return
        links.write(adapter=sources.of_upload(code)[0].code, heads=None, scale=None)

    st.file_uploader(
        f"Drop an adapter: {HELP}", accept_multiple_files=True, key=key, on_change=keep,
    )  # fmt: skip
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
        first = _pick("adapter", "adapter", offered, sources.default(offered))
    with right:
        second = _pick("beside", "beside", [NONE, *(one for one in offered if one != first)], NONE)
    return first, None if second == NONE else second


def _pick(name: str, label: str, offered: Sequence[Source], default: Source) -> Source:
    return links.choice(
        st.selectbox, "xray", name, label, offered, default=default,
        show=lambda source: source.title, code=lambda source: source.code,
    )  # fmt: skip
