"""The cut of a method that switches heads off after a warm-up: how many will go, and what a run recorded of it.

A method takes part by its fields: `off` in its settings names heads, and `counts_off` tells how many go. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import background, screen, subjects, theme, words
from app.captions import caption
from app.drawn import plan
from app.room import who
from app.runs.following import Follower
from peftcore.errors import HeadroomError
from peftcore.figures import heads as figures
from peftcore.figures import masks
from peftcore.figures.score_steps import scores_over_steps
from peftcore.figures.squares import Scale
from peftcore.figures.words import percent
from peftcore.store import RunRecord

if TYPE_CHECKING:
    from peftcore.backbone.load import Backbone
    from peftcore.spec import RunSpec

MOST_FRAMES = 24  # of the scores' growth; a longer warm-up is thinned evenly
PREVIEW_HEIGHT, TALL, WIDE, EDGE = 160, 500, 415, 8  # of their places, pixels


DECIDED = "decided"  # beside the projections: what the cut weighed


def has_one(method: Mapping[str, Any]) -> bool:
    """Whether the method with these settings switches heads off."""
    return "off" in method


def decided(method: Mapping[str, Any], scores: subjects.Scores) -> str:
    """What `Scores.decided` sums, in words: 'taylor, summed over q, v and the layers of a stage'."""
    parts = ([", ".join(scores.projections)] if len(scores.projections) > 1 else []) + (
        ["the layers of a stage"] if method.get("scope") == "global" else []
    )
    turned = ", sign reversed" if scores.score == "taylor_signed" else ""
    return scores.score + (f", summed over {' and '.join(parts)}" if parts else "") + turned


def why(run: subjects.Run, scores: subjects.Scores, layer: int, head: int) -> str:
    """Why a head went: 'Switched off: rank 7 of 8 in its layer, 0.4 times the median there, by taylor, ...'"""
    cuts = subjects.events(run.subject, "heads_cut")
    if cuts and cuts[-1]["overruled"]:
        return "Switched off because it was named."
    method, own = run.spec["method"], scores.decided(run.spec["method"])[layer]  # (heads,)
    shared = method.get("scope") == "global"
    rank, there = int(np.nansum(own > own[head])) + 1, int(np.isfinite(own).sum())
    return (
        f"Switched off: rank {rank} of {there} in its {'stage' if shared else 'layer'}, "
        f"{Scale.of(own).text(own[head])} there, by {decided(method, scores)}."
        + (" The same heads went in every layer of the stage, whatever one layer's score." if shared else "")
    )


# Before the run


def place_for_preview(cls: type) -> DeltaGenerator | None:
    """Where `preview` draws, of its size already; None for a method that switches no heads off."""
    return (
        st.container(height=screen.tall(PREVIEW_HEIGHT), border=False).empty() if hasattr(cls, "counts_off") else None
    )


def preview(place: DeltaGenerator, spec: RunSpec, images: int) -> None:
    """How many heads will go, and when. Nothing where the settings do not fit: the bill says so in a sentence.

    `images`: how many the task trains on.
    """
    if who.unpredicted(spec.backbone, spec.task):
        place.empty()  # the bill says why
        return
    job = background.later(("skeleton", spec.backbone), lambda: _skeleton(spec.backbone))
    background.wait(job, lambda: place.caption("Counting the backbone's heads."), place)
    backbone, method = job.result(), spec.method
    try:
        if isinstance(backbone, HeadroomError):
            raise backbone
        method.check(backbone)
        when = method.cut_step(spec.epochs, math.ceil(images / spec.batch_size))
    except HeadroomError:
        place.empty()
        return
    with place.container(gap=None):
        theme.show(
            plan(masks.heads_off, _rows(method, backbone), dark=theme.is_dark(), **screen.fit(560)), "launch_heads_off"
        )
        st.caption(f"{_each(method, backbone)} {_when(when, spec, images)} {_which(method)}")


def _skeleton(name: str) -> Backbone | HeadroomError:
    """The backbone without weights, or why there is none."""
    from peftcore.backbone.load import load_backbone

    try:
        return load_backbone(name, pretrained=False, device="meta")
    except HeadroomError as error:
        return error


def _rows(method: Any, backbone: Backbone) -> list[dict[str, Any]]:
    """A row for each layer where heads are named, else one for each stage."""
    if method.off is not None:
        named = method.off if len(method.off) == backbone.depth else method.off * backbone.depth
        return [
            {"label": f"layer {i + 1}", "heads": heads, "off": off, "layers": 1}
            for i, (heads, off) in enumerate(zip(backbone.heads, named, strict=True))
        ]
    counts = method.counts_off(backbone.heads)
    return [
        {
            "label": _stage(i, layers, backbone),
            "heads": backbone.heads[layers[0]],
            "off": counts[layers[0]],
            "layers": len(layers),
        }
        for i, layers in enumerate(backbone.stages)
    ]


def _stage(index: int, layers: Sequence[int], backbone: Backbone) -> str:
    many = f"{len(layers)} {'layer' if len(layers) == 1 else 'layers'}"
    return f"stage {index + 1}, {many}" if backbone.hierarchical else f"each of {many}"


def _each(method: Any, backbone: Backbone) -> str:
    """'3 of 8 heads in each of 8 layers', stage by stage where there are stages."""
    if method.off is not None:
        return "The heads that you named in `off`, under More settings."
    counts = method.counts_off(backbone.heads)
    parts = [(counts[stage[0]], backbone.heads[stage[0]]) for stage in backbone.stages]
    if len(parts) == 1:
        return f"{parts[0][0]} of {parts[0][1]} heads in each of {backbone.depth} layers."
    return f"In each layer: {', '.join(f'{off} of {heads}' for off, heads in parts)} heads, stage by stage."


def _when(step: int, spec: RunSpec, images: int) -> str:
    return f"It happens after step {step} of {spec.epochs * math.ceil(images / spec.batch_size)}."


def _which(method: Any) -> str:
    if method.off is not None:
        return ""
    same = "the same in all layers of a stage" if method.scope == "global" else "each layer its own"
    return f"Which ones, the warm-up decides: the least responsive, {same}."


# In the run


def step_of(follower: Follower) -> dict[int, str]:
    """What the curves mark: the step of the cut, where it was."""
    return {follower.cut["step"]: "heads cut"} if follower.cut else {}


def sentence(follower: Follower) -> str:
    """'After step 12, 26 of 64 heads were switched off.'"""
    assert follower.cut is not None, "there is a sentence after the cut only"
    off, scores = follower.cut["off"], subjects.Scores.of(follower.cut["scores"])
    there = int(np.isfinite(scores.values).any(1).sum())
    why = "as you named them" if follower.cut["overruled"] else f"the least responsive by {scores.score}"
    return f"After step {follower.cut['step']:,}, {sum(map(len, off))} of {there} heads were switched off: {why}."


def draw(record: RunRecord, follower: Follower) -> None:
    """Scores growing through the warm-up at the left; at the right, once it was, the cut."""
    if not has_one(record.spec["method"]) or not follower.total:
        return
    st.markdown(f"**{sentence(follower)}**" if follower.cut else _waiting(record, follower))
    left, right = (side.container(height=screen.tall(TALL), border=False) for side in st.columns(2))
    if not follower.scores:
        return
    every = -(-len(follower.scores) // MOST_FRAMES)
    frames = follower.scores[::-every][::-1]  # the newest is among them
    history = [(event["step"], subjects.Scores.of(event["scores"])) for event in frames]
    shown = "+".join(history[-1][1].projections)
    size = {**screen.fit(WIDE), "height": TALL - EDGE, "dark": theme.is_dark()}
    with left:
        frames = [{"step": step, "values": scores.summed()} for step, scores in history]
        grown = plan(scores_over_steps, frames, score=history[-1][1].score, projection=shown, **size)
        theme.show(grown, f"scores_{record.id}", spec=record.spec)
    if follower.cut:
        scores = subjects.Scores.of(follower.cut["scores"])
        kept = np.ones(scores.summed().shape, bool)
        for layer, heads in enumerate(follower.cut["off"]):
            kept[layer, heads] = False
        with right:
            grid = plan(
                figures.head_grid,
                scores.decided(record.spec["method"]),
                scores.layers,
                score=scores.score,
                projection=shown,
                mask=kept,
                title=f"{(~kept).sum()} of {np.isfinite(scores.summed()).sum()} heads switched off",
                note="crossed; they were named"
                if follower.cut["overruled"]
                else "crossed: the lowest score that decided",
                **size,
            )
            theme.show(grid, f"cut_{record.id}", spec=record.spec)
    weighed = decided(record.spec["method"], history[-1][1])
    beside = (
        f"; at the right {weighed}: what decided, and the heads that were switched off, crossed" if follower.cut else ""
    )
    caption(
        f"Head scores of run {record.id}{words.random_weights(record.spec)} through its warm-up, the mean over its "
        f"steps so far, summed over the projections {', '.join(history[-1][1].projections)}{beside}. "
        "Layers count from 1 at the bottom."
    )


def _waiting(record: RunRecord, follower: Follower) -> str:
    method = record.spec["method"]
    epochs, share = method.get("warmup_epochs"), method.get("warmup_share")
    end = f"after epoch {epochs}" if epochs else f"after {percent(share)} of {follower.total:,} steps"
    if record.ended:
        return f"The run ended before the cut, which comes {end}."
    return f"Warm-up: heads are scored, and switched off {end}."
