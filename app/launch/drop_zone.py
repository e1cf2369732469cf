"""Where a file or a link is dropped on the launch page, anywhere on it, or pasted; what it says fills the form."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import errors, links
from app.launch import dropped, request
from app.launch.dropped import Found
from peftcore.errors import BadData, HeadroomError

MOST_BYTES = 40_000_000  # of a zip; of an adapter the browser sends the header alone
_FILLED, _WRONG, _TEXT = "launch_filled", "launch_refused", "launch_paste"  # in the session

_HTML = """
<label class="zone" tabindex="0"><input type="file" accept=".json,.safetensors,.zip">
<span><b>Drop a spec, an adapter or a link</b> on this page, or choose a file</span></label>
"""
_CSS = """
.zone { display: block; padding: 0.3rem 0.7rem; line-height: 1.35; border-radius: 0.5rem;
        border: 1px dashed var(--st-border-color);
        color: var(--st-text-color); font-family: var(--st-font); font-size: 0.8rem; cursor: pointer; }
.zone.over, .zone:focus-visible { border-color: var(--st-primary-color); outline: none; }
.zone input { position: absolute; opacity: 0; width: 1px; height: 1px; }
"""
_JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  const zone = parentElement.querySelector(".zone"), input = zone.querySelector("input");
  const base64 = (bytes) => {
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return btoa(text);
  };
  const send = async (file) => {
    let part = file;
    if (file.name.toLowerCase().endsWith(".safetensors")) {
      const size = new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true);
      part = file.slice(0, 8 + Math.min(Number(size), data.most));
    } else if (file.size > data.most) {
      return setTriggerValue("dropped", { name: file.name, size: file.size });
    }
    const bytes = new Uint8Array(await part.arrayBuffer());
    setTriggerValue("dropped", { name: file.name, data: base64(bytes) });
  };
  const over = (event) => { event.preventDefault(); zone.classList.add("over"); };
  const leave = () => zone.classList.remove("over");
  const drop = (event) => {
    if (event.defaultPrevented && event.type !== "drop") return;
    event.preventDefault();
    leave();
    if (event.dataTransfer.files.length) return send(event.dataTransfer.files[0]).catch(() => {});
    const text = event.dataTransfer.getData("text/uri-list") || event.dataTransfer.getData("text/plain");
    if (text) setTriggerValue("dropped", { text });
  };
  input.onchange = () => { if (input.files.length) send(input.files[0]); input.value = ""; };
  zone.onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") input.click(); };
  window.addEventListener("dragover", over);
  window.addEventListener("dragleave", leave);
  window.addEventListener("drop", drop);
  return () => {
    window.removeEventListener("dragover", over);
    window.removeEventListener("dragleave", leave);
    window.removeEventListener("drop", drop);
  };
}
"""
_component = st.components.v2.component("launch_drop", html=_HTML, css=_CSS, js=_JS)


def draw(zone: DeltaGenerator, field: DeltaGenerator) -> None:
    """The zone, a field for a link or JSON, each in its place, and what the last one filled in, with the way back."""
    with zone:
        said = _component(key="launch_drop", data={"most": MOST_BYTES}, on_dropped_change=lambda: None).dropped
    field.text_input(
        "Link or spec", key=_TEXT, placeholder="or paste a link or JSON", on_change=_pasted,
        label_visibility="collapsed",
    )  # fmt: skip
    if said:
        take(said)
        st.rerun()
    if wrong := st.session_state.pop(_WRONG, None):
        errors.show(f"{wrong} Nothing in the form was changed.")
    _filled()


def take(said: dict[str, Any]) -> None:
    """Fills the form from what was dropped: `text`, or a file's `name` with its `data` in base64."""
    try:
        if "text" in said:
            fill(dropped.of_text(str(said["text"]), host()))
        elif "data" in said:
            fill(dropped.of_file(str(said["name"]), base64.b64decode(said["data"], validate=True)))
        else:
            raise BadData(f"{said['name']} has {said['size'] / 1e6:,.0f} MB. Drop {dropped.TAKEN}.")
    except (HeadroomError, binascii.Error) as error:
        st.session_state[_WRONG] = str(error)


def _pasted() -> None:
    text = st.session_state[_TEXT].strip()
    if text:
        take({"text": text})
        if _WRONG not in st.session_state:
            st.session_state[_TEXT] = ""


def host() -> str:
    """Of this app, as the browser has it."""
    return urlsplit(st.context.url or "").netloc


def fill(found: Found) -> None:
    """Writes what was found into the address, of which the form is made; all else in it goes, but for what stays."""
    before = links.shown()
    kept = {name: texts for name, texts in before.items() if name in found.rest}
    links.write(**dict.fromkeys(before) | kept | found.query)
    st.session_state[_FILLED] = (found.title, before, links.shown())


def _filled() -> None:
    """What filled the form, as long as nothing else was changed in it."""
    title, before, after = st.session_state.get(_FILLED, ("", {}, None))
    if after is None or request.from_query(after).specs != request.from_query(links.shown()).specs:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(f":material/check: {errors.plain(title)} filled the form.", width="content")
        st.button("Undo", key="launch_undo", type="tertiary", icon=":material/undo:", on_click=_undo, args=(before,))


def _undo(before: links.Query) -> None:
    links.write(**dict.fromkeys(links.shown()) | before)
    st.session_state.pop(_FILLED, None)
