"""A camera that takes several pictures at one press and stays on: `st.camera_input` takes one and then shows it.

The pictures come as one message of small JPEG files; nothing is sent before somebody presses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

import streamlit as st

from app.try_it.images import decoded

MANY, EVERY = 10, 250  # pictures at one press, and milliseconds between two of them
SIDE = 320  # pixels across
REFUSED = (
    "No camera: it works where the page is on this machine (localhost) or comes by https, and the browser may use it. "
    "Pictures can be dropped instead."
)

_HTML = """
<video autoplay muted playsinline></video>
<div class="row"><button class="many" disabled></button><button class="one" disabled>Take one</button></div>
<p role="status"></p>
"""
_CSS = """
video {width: 100%; max-width: 420px; aspect-ratio: 4 / 3; background: var(--st-secondary-background-color);
  border-radius: var(--st-base-radius)}
.row {display: flex; gap: 0.5rem; margin-top: 0.5rem}
button {font: inherit; padding: 0.4rem 0.9rem; border-radius: var(--st-button-radius); cursor: pointer;
  border: 1px solid var(--st-border-color); background: transparent; color: var(--st-text-color)}
button.many {background: var(--st-primary-color); border-color: var(--st-primary-color); color: #fff}
button:disabled {opacity: 0.5; cursor: default}
p {font-size: 0.85rem; margin: 0.4rem 0; min-height: 1.3em; color: var(--st-text-color)}
"""
_JS = """
export default function ({ parentElement, data, setTriggerValue }) {
  const find = (what) => parentElement.querySelector(what);
  const video = find("video"), said = find("p"), buttons = [find(".many"), find(".one")];
  const able = (yes) => buttons.forEach((button) => (button.disabled = !yes));
  buttons[0].textContent = `Take ${data.many} pictures`;
  if (!video.asked) {
    video.asked = true;
    const asked = navigator.mediaDevices?.getUserMedia({ video: { width: 640, height: 480 } });
    (asked ?? Promise.reject()).then((stream) => {
      if (!video.isConnected) return stream.getTracks().forEach((track) => track.stop());
      video.srcObject = stream;
      video.onloadeddata = () => able(true);
    }).catch(() => { said.textContent = data.refused; });
  }
  const take = async (many) => {
    able(false);
    const canvas = document.createElement("canvas"), pictures = [];
    canvas.width = data.side;
    canvas.height = Math.round((data.side * video.videoHeight) / video.videoWidth);
    for (let n = 1; n <= many; n++) {
      canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
      pictures.push(canvas.toDataURL("image/jpeg", 0.92));
      said.textContent = `${n} of ${many}`;
      if (n < many) await new Promise((go) => setTimeout(go, data.every));
    }
    said.textContent = "";
    able(true);
    setTriggerValue("pictures", pictures);
  };
  buttons[0].onclick = () => take(data.many);
  buttons[1].onclick = () => take(1);
  // Streamlit also cleans up after a call that a newer one has overtaken: the camera goes off with the page's part.
  return () => setTimeout(() => {
    if (!video.isConnected) video.srcObject?.getTracks().forEach((track) => track.stop());
  });
}
"""
_camera = st.components.v2.component("camera_burst", html=_HTML, css=_CSS, js=_JS)


def camera(key: str, take: Callable[[list[BinaryIO]], None]) -> None:
    """Draws it; `take` gets the pictures of each press before the page runs again."""

    def taken() -> None:
        take([decoded(address) for address in st.session_state[key]["pictures"] or []])

    data = {"many": MANY, "every": EVERY, "side": SIDE, "refused": REFUSED}
    _camera(key=key, data=data, on_pictures_change=taken)
