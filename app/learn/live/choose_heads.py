"""Heads that a reader switches off, one after the other, and what it costs: beside chance, a score, and the best order.

The choice stands in the address in the order of its clicks. It is measured on request, with progress and a stop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from app import background, errors, links, repeated, screen, subjects, theme
from app.captions import caption
from app.desk import Job
from app.drawn import plan
from app.learn import facts, heads_off, predictions
from app.learn.heads_off import Head
from peftcore.errors import HeadroomError
from peftcore.figures.masks import mask_grid
from peftcore.figures.orders import METRICS, orders

MOST = 32  # heads that a reader may choose
NAME = "heads_off"  # in the address
_ASKED = "choose_heads_asked"  # in the session: the choice that is to be measured
_BY = {"energy": "length of each head's update", "scores": "Taylor score from training"}


def draw(settings: Mapping[str, Any]) -> None:
    """`by`: what colours the grid and, "scores", shows the score's curve as well. Then `lesson` and `predicted`, the
    key of a prediction in it, say whose loss the reader thought to be the lowest."""
    found, by = facts.TABLES["measured"]["heads_off"], settings.get("by", "energy")
    key = "choose_heads"
    run = subjects.run(subjects.Subject(subjects.GALLERY, found["run"]))
    values = np.array(found[by])
    chosen = _chosen(values.shape)
    left, right = st.columns([10, 9], gap="medium")
    with left:
        off = [sorted(head for layer, head in chosen if layer == nth) for nth in range(len(values))]
        grid = plan(
            mask_grid, values, off, off, score=_BY[by], note=f"colour: {_BY[by]}",
            **screen.fit(560, 460), dark=theme.is_dark(),
        )  # fmt: skip
        theme.show(grid, key, spec=run.spec, on_click=lambda: _click(key, chosen))
    with right:
        _choices(key, found, chosen, by)
        own = _measured(key, run, chosen)
        metric = links.choice(
            st.segmented_control, key, "heads_metric", "shown", list(METRICS), default="accuracy", required=True,
            label_visibility="collapsed",
        )  # fmt: skip
        curves = {"chance": _recorded(found, "chance")}
        if by == "scores":
            curves |= {name: _recorded(found, name) for name in ("measured", "score")}
        if own:
            curves["own"] = [own]
        most = max(16, 2 * len(chosen)) if own else None  # heads in sight
        figure = plan(orders, curves, metric=metric, most=most, dark=theme.is_dark(), height=380)
        theme.show(figure, f"{key}_orders", spec=run.spec)
    if by == "scores":
        _whose(found, own, predictions.answered(settings.get("lesson", ""), settings.get("predicted", "")))
    of = ", ".join(run.spec["method"]["projections"])
    caption(
        f"{run.title}, seed {run.spec['seed']}: its updates of {of} switched off head by head; the frozen heads go on "
        f"working. On the first {found['images']} validation images. Your choice is measured here; the other "
        "curves were recorded.",
        found["command"],
    )


def _recorded(found: Mapping[str, Any], name: str) -> list[dict[str, list[float]]]:
    return [{"off": found["off"], **curve} for curve in found["curves"][name]]


def _chosen(shape: tuple[int, ...]) -> list[Head]:
    """The heads of the address, from 0, in the order of the clicks; what is none of them is left out."""
    heads: dict[Head, None] = {}
    said = links.read(NAME)
    if said is None:  # the next part of the lesson goes on with what was measured
        return list(st.session_state.get(_ASKED, ()))
    for text in said.split("."):
        layer, _, head = text.partition("-")
        if layer.isdecimal() and head.isdecimal() and 0 < int(layer) <= shape[0] and 0 < int(head) <= shape[1]:
            heads[int(layer) - 1, int(head) - 1] = None
    return list(heads)[:MOST]


def _write(chosen: list[Head]) -> None:
    links.write(**{NAME: ".".join(f"{layer + 1}-{head + 1}" for layer, head in chosen) or "none"})


def _whose(found: Mapping[str, Any], own: Mapping[str, Sequence[float]] | None, predicted: str | None) -> None:
    """With as many heads off as the reader chose: the three losses, and whether it came out as predicted."""
    if own is None and screen.is_paper():
        return
    if own is None:
        st.info("Your own curve is not here yet: choose heads and measure them.", icon=":material/science:")
        return
    count = own["off"][-1]
    losses = {"yours": own["loss"][-1]}
    for name, words in (("score", "the score’s"), ("chance", "chance’s")):
        losses[words] = float(np.interp(count, found["off"], np.mean([c["loss"] for c in found["curves"][name]], 0)))
    lowest = min(losses, key=losses.__getitem__)
    came = f" You said {predicted}: {'that is so' if predicted == lowest else 'it is not'}." if predicted else ""
    st.markdown(
        f"**With {count} heads off the lowest loss is {lowest}**: {losses['yours']:.3f} nats for your choice, "
        f"{losses['the score’s']:.3f} for the score’s, {losses['chance’s']:.3f} by chance.{came}"
    )


def _click(key: str, chosen: list[Head]) -> None:
    """What a click on a head does: it goes last, or it is on again."""
    if clicked := links.clicked(key):
        head = (int(clicked[0]), int(clicked[1]))
        _write([one for one in chosen if one != head] if head in chosen else [*chosen, head][:MOST])


def _choices(key: str, found: Mapping[str, Any], chosen: list[Head], by: str) -> None:
    """How many are chosen, and the buttons; on paper nothing can be chosen."""
    if screen.is_paper():
        return
    st.markdown(
        f"**You switched off {len(chosen)} of {found['heads']} heads**, at most {MOST}. A click on a head switches it "
        "off or on. Their order counts: your curve begins with the first one."
    )
    cut = min(found["cut"], MOST)
    orders_by = {"Shortest updates": np.array(found["energy"]), "Lowest scores": np.array(found["scores"])}
    with st.container(horizontal=True):
        for label, values in list(orders_by.items())[: 2 if by == "scores" else 1]:
            least = [(int(i) // values.shape[1], int(i) % values.shape[1]) for i in np.argsort(values, axis=None)[:cut]]
            st.button(
                label, key=repeated.key_of(f"{key}_{label[0]}"), on_click=_write, args=(least,),
                help=f"The {cut} heads with the smallest {'update' if label[0] == 'S' else 'score'}: as many as "
                "Heart-LoRA switches off here by default.",
            )  # fmt: skip
        st.button(
            "All on", key=repeated.key_of(f"{key}_none"), on_click=_write, args=([],), type="tertiary",
            disabled=not chosen, icon=":material/undo:",
        )  # fmt: skip
        st.button(
            "Measure my choice", key=repeated.key_of(f"{key}_measure"), type="primary", icon=":material/science:",
            disabled=not chosen, on_click=lambda: st.session_state.update({_ASKED: tuple(chosen)}),
        )  # fmt: skip


def _measured(key: str, run: subjects.Run, chosen: list[Head]) -> dict[str, list[float]] | None:
    """The curve of the choice, once it was asked for; waits with progress and a stop."""
    if not chosen or st.session_state.get(_ASKED) != tuple(chosen):
        return None
    adapter, order = subjects.adapter(run.subject), tuple(chosen)
    if adapter is None:
        errors.show(f"The recorded example {run.subject.id} has no weights here, so nothing can be switched off in it.")
        return None

    def work() -> Any:
        try:
            return heads_off.curve(adapter, run.spec, order)
        except HeadroomError as error:
            return error

    job = background.later(("lesson heads off", run.subject, order), work)
    if not job.done():
        place = st.empty()
        with place.container(horizontal=True, vertical_alignment="center"):
            bar = st.empty()
            st.button(
                "Stop",
                key=repeated.key_of(f"{key}_stop"),
                icon=":material/stop:",
                on_click=lambda: st.session_state.pop(_ASKED),
            )
        background.wait(job, lambda: bar.progress(*_progress(job)), place)
        place.empty()
    result = job.result()
    if isinstance(result, HeadroomError):
        errors.show(result)
        return None
    return result


def _progress(job: Job) -> tuple[float, str]:
    share = float(job.said[0]) if job.said else 0.0
    return share, f"Measuring: {share:.0%}" if share else "Loading the model and the images"
