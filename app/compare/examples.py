"""What a recorded example answered on its test images: kept with it, or predicted when the reader asks. No torch."""

from __future__ import annotations

import streamlit as st

from app import errors, stopped
from app.compare.entries import Entry
from peftcore.store import gallery, results
from peftcore.store.results import Results


@st.cache_resource(show_spinner=False)
def _predicted() -> dict[str, Results]:
    """Those that were predicted since the app began, by name."""
    return {}


@st.cache_resource(max_entries=16, show_spinner=False)
def _kept(name: str) -> Results | None:
    kept = gallery.predictions(name)
    return results.of_arrays(results.unpack(kept), gallery.record(name)["spec"]["task"]) if kept else None


def of(entry: Entry) -> Results | None:
    """None where it has no predictions yet."""
    return _kept(entry.code) or _predicted().get(entry.code)


def invite(entry: Entry) -> None:
    """In place of predictions: why there are none, and the button that makes them from the example's adapter."""
    st.info(
        f"The recorded example {entry.code} came without predictions. Its adapter makes them: about as long as the "
        "evaluation after one epoch.",
        icon=":material/history:",
    )
    if not st.button("Predict now", key=f"predict_{entry.code}", type="primary", icon=":material/replay:"):
        return
    bar = st.empty()
    bar.progress(0.0, text="Loading PyTorch, the backbone and the task")
    with errors.sentences(), stopped.told(bar):
        from peftcore.store.again import predictions

        blob, classes = gallery.adapter(entry.code), (entry.started or {}).get("classes")
        assert blob is not None, "an example is recorded with its adapter"
        work = predictions(entry.spec, blob, classes, entry.name)
        while True:
            try:
                done, total = next(work)
            except StopIteration as end:
                _predicted()[entry.code] = results.of_arrays(end.value, entry.spec["task"])
                break
            bar.progress(done / max(1, total), text=f"Predicting: {done:,} of {total:,} test images")
    st.rerun()
