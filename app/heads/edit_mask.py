"""Overruling a cut: a run's mask, changed by clicks on heads, opens Launch as the mask of a new run.

The mask being made stands in the address as `off`: the run's number, a colon, and what the setting of that name is in
JSON, a list per layer of heads counted from 0. Another run begins from its own mask.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from app import captions, errors, forms, links, navigation, screen, subjects, theme
from app.drawn import plan
from app.heads import cut
from peftcore.figures import masks

Mask = list[list[int]]
WIDTH, HEIGHT = 620, 560  # the most the grid may take, pixels


def draw(run: subjects.Run, scores: subjects.Scores, chosen: tuple[int, int]) -> None:
    """The section of the Heads page; nothing for a run whose method switches no heads off, or whose backbone's weights
    do not travel. `chosen`: layer and head of the select boxes, which a button switches."""
    if not cut.has_one(run.spec["method"]) or run.of:
        return
    values = scores.summed()  # (layers, heads)
    there = np.isfinite(values).sum(1)
    cuts = subjects.events(run.subject, "heads_cut")
    before = cuts[-1]["off"] if cuts else [[] for _ in there]
    off = read(run.subject.id, before, there)

    st.header("Which heads would you switch off instead?", anchor="overrule")
    left, right = st.columns([11, 9], gap="medium")
    with left:
        grid = plan(
            masks.mask_grid, values, off, before, score=scores.score, **screen.fit(WIDTH, HEIGHT), dark=theme.is_dark()
        )
        key = "heads_mask"
        theme.show(grid, key, spec=run.spec, on_click=lambda: click(key, run.subject.id, off))
    with right:
        st.markdown(_sentence(off, before, there, bool(cuts)))
        empty = [layer + 1 for layer, heads in enumerate(off) if len(heads) >= there[layer]]
        if empty:
            errors.show(
                f"Layer {', '.join(map(str, empty))} has no head left on; Heart-LoRA keeps at least one in each layer. "
                "Click one of its heads."
            )
        if st.button(
            "Launch again with this mask",
            type="primary",
            key="overrule_launch",
            icon=":material/rocket_launch:",
            disabled=bool(empty),
        ):
            navigation.go("launch", **preset(run, off))
        layer, head = chosen
        if head < there[layer]:
            st.button(
                f"Switch head {head + 1} of layer {layer + 1} {'on' if head in off[layer] else 'off'}",
                key="overrule_chosen",
                icon=":material/toggle_on:",
                type="tertiary",
                on_click=write,
                args=(run.subject.id, toggled(off, layer, head)),
            )
        if off != before:
            st.button(
                "Back to the run's mask" if cuts else "All heads on",
                key="overrule_reset",
                icon=":material/undo:",
                type="tertiary",
                on_click=links.write,
                kwargs={"off": None},
            )
        captions.caption(
            "The new run has this run's settings, seed and warm-up; its second phase leaves out exactly these heads, "
            f"whatever their scores. Colour: {scores.score}, summed over {', '.join(scores.projections)}. The frozen "
            "head itself keeps working; only its update goes."
        )


def read(run: str, before: Mask, there: Sequence[int]) -> Mask:
    """The mask in the address, sorted; `before` where there is none for this run or it does not fit its heads.

    `there`: how many heads each layer has.
    """
    whose, _, said = (links.read("off") or "").partition(":")
    try:
        mask = [sorted({int(head) for head in heads}) for heads in json.loads(said)] if whose == run else before
    except (ValueError, TypeError, OverflowError, RecursionError):
        return before
    fits = len(mask) == len(there) and all(0 <= h < n for heads, n in zip(mask, there, strict=True) for h in heads)
    return mask if fits else before


def toggled(mask: Mask, layer: int, head: int) -> Mask:
    """The mask with one head switched."""
    return [sorted(set(heads) ^ {head}) if index == layer else heads for index, heads in enumerate(mask)]


def click(key: str, run: str, mask: Mask) -> None:
    """What a click on a head of the grid does."""
    if clicked := links.clicked(key):
        write(run, toggled(mask, *clicked[:2]))


def write(run: str, mask: Mask) -> None:
    """Puts a mask into the address."""
    links.write(off=f"{run}:{json.dumps(mask, separators=(',', ':'))}")


def preset(run: subjects.Run, mask: Mask) -> dict[str, Any]:
    """Query parameters of Launch: the run's settings with this mask."""
    return forms.preset({**run.spec, "method": {**run.spec["method"], "off": mask}})


def _sentence(off: Mask, before: Mask, there: Sequence[int], was_cut: bool) -> str:
    """What the run did, and what the reader's mask changes."""
    run = (
        f"The run switched off {sum(map(len, before))} of {sum(there)} heads."
        if was_cut
        else ("The run has not come to its cut yet, so all heads are on.")
    )
    on = sum(len(set(was) - set(now)) for was, now in zip(before, off, strict=True))
    gone = sum(len(set(now) - set(was)) for was, now in zip(before, off, strict=True))
    if not on and not gone:
        return f"{run} Click heads to switch them off or on."
    parts = [f"{count} more {word}" for count, word in ((gone, "off"), (on, "on")) if count]
    return f"{run} **Your mask: {sum(map(len, off))} off, {' and '.join(parts)}.**"
