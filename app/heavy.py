"""Backbones that do not come with Headroom are large: a page loads one only where its reader pressed a button for it,
and where the machine has the memory for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import psutil
import streamlit as st

from app import background, errors
from app.room import who
from peftcore.backbone import embedded
from peftcore.errors import HeadroomError
from peftcore.figures.words import si_bytes

BATCH = 16  # images that run through it at a time, at most
SPARE = 1.15  # it is loaded only where its predicted bytes, times this, are free
_AGREED = "heavy_agreed"  # in the session: names of backbones


def free() -> int:
    """Bytes of this machine's memory that are free."""
    return psutil.virtual_memory().available


def memory(device: str) -> int:
    """Bytes that this machine has: of its GPU where the device is one, else its own."""
    import torch

    if device.startswith(("cuda", "auto")) and torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory
    return psutil.virtual_memory().total


def too_much(peak: int, device: str) -> str:
    """A warning where a step is predicted to take more than this machine has; '' elsewhere."""
    there = memory(device)
    if peak <= there:
        return ""
    return (
        f"This takes about {si_bytes(peak)}, and this machine has {si_bytes(there)}: it would end for lack of memory. "
        "Take a smaller batch, a smaller image or a smaller backbone, or a side method with cached features."
    )


def agreed(backbone: str, what: str, *, key: str, weights: str | None = None) -> bool:
    """Whether the page may load a backbone; where not, a button asks for it, or a sentence says why it can't be.

    `what`: what it is loaded for, such as 'to see where it looks'.
    """
    if (backbone in embedded.names() and not weights) or backbone in st.session_state.get(_AGREED, ()):
        return True
    place = st.empty()
    job = needed(backbone)
    background.wait(job, lambda: place.caption("Predicting what this backbone needs."), place)
    with place.container():
        size = job.result()
        if isinstance(size, HeadroomError):
            errors.show(size)
            return False
        said = (
            f"{errors.plain(backbone)} does not come with Headroom: {what}, it is loaded, which takes about "
            f"{si_bytes(size)} of memory; {si_bytes(free())} are free on this machine."
        )
        if size * SPARE > free():
            st.warning(f"{said} So it is not loaded here.", icon=":material/memory:")
            return False
        st.info(said, icon=":material/memory:")
        st.button("Load it", key=f"{key}_load", icon=":material/memory:", on_click=_agree, args=(backbone,))
    return False


def agreed_for(spec: Mapping[str, Any], what: str, *, key: str) -> bool:
    """The same of a run's backbone."""
    return agreed(spec["backbone"], what, key=key, weights=spec.get("weights"))


def _agree(backbone: str) -> None:
    st.session_state[_AGREED] = {*st.session_state.get(_AGREED, ()), backbone}


def needed(backbone: str) -> Future:
    """A future of the bytes that it takes to load a backbone and to run images through it, or of a HeadroomError."""
    if refused := who.unpredicted(backbone):
        return background.settled(refused)
    return background.apart(("needed", backbone), _needed, backbone)


def _needed(backbone: str) -> int | HeadroomError:
    from peftcore.memory import predict_memory
    from peftcore.spec import RunSpec

    try:
        spec = RunSpec(backbone=backbone, method="linear", batch_size=BATCH, cache_features=False, pretrained=False)
        report = predict_memory(spec, num_classes=2)
    except HeadroomError as error:
        return error
    return report.peak + report.components["frozen_weights"]  # while a file is read its tensors are there twice
