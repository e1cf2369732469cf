"""Which heads did this task move? The layer x head grid of a run, and what one head looks at."""

import numpy as np
import streamlit as st

from app import cached, captions, links, navigation, subjects, theme, words
from app.errors import sentences
from app.heads import controls, cut, edit_mask
from peftcore.figures import heads as figures
from peftcore.figures.squares import Scale
from peftcore.figures.theme import percent

SCORES = {
    "training": "taylor, in training",
    "taylor": "taylor, on validation images",
    "taylor_signed": "taylor with its sign, on validation images",
    "energy": "energy, from the weights",
}
HELP = (
    "**Taylor**: how much the loss would change, to first order, if this head's low-rank update were taken away: "
    "|⟨∂L/∂B, B⟩| over the head's rows of B, a mean over steps. **With its sign**: positive where the loss would fall "
    "without it. **Energy**: the size of the update, ‖ΔW‖ over the head's rows; it needs no image."
)

st.title("Which heads did this task move?")
row = st.columns([5, 2, 3], vertical_alignment="bottom")
with row[0]:
    run = controls.choose_run("heads", subjects.runs("scores"), method="heart_lora")
with row[2]:
    score = links.choice(
        st.selectbox, "heads", "score", "score", list(SCORES), default="training", show=SCORES.get, help=HELP
    )
history = subjects.scores_by_epoch(run.subject)
if score == "training" and not history:
    st.info(
        f"{run.title} has no head scores. They are collected while LoRA or one of its relatives trains on q, k or v, "
        "and told after each epoch.",
        icon=":material/grid_off:",
    )
    navigation.link(
        "launch", "Launch LoRA on this task", method="lora", task=run.spec["task"], backbone=run.spec["backbone"]
    )
    st.stop()
with sentences(), st.spinner(f"Scoring heads: {SCORES[score]} ..."):
    scores = history[-1][1] if score == "training" else cached.head_scores(run.subject, score)
method = run.spec["method"]
# The score that decided, where heads were cut by the scores that training collected.
decided = [cut.DECIDED] if cut.has_one(method) and score == "training" else []
with row[1]:
    projection = links.choice(
        st.segmented_control,
        "heads",
        "projection",
        "projection",
        [*decided, *scores.projections],
        default=[*decided, *scores.projections][0],
        show=lambda name: "+".join(scores.projections) if name == cut.DECIDED else name,
        required=True,
    )
if projection == cut.DECIDED:
    values, mask, what = scores.decided(method), scores.any_mask(), cut.decided(method, scores)
    shown, spread = "+".join(scores.projections), scores.summed()  # a layer's share is of its own score
else:
    values, mask = scores.of_projection(projection)  # (layers, heads)
    what, shown, spread = f"{scores.score} in {projection}", projection, values

with st.container(key="wrap_heads"):
    left, right = st.columns([11, 9], gap="medium")
with right:
    layer, head = controls.choose_head("heads", values)
ranks, count = figures.rank_heads(values), int(np.isfinite(values).sum())
with left:
    grid = figures.head_grid(
        values,
        scores.layers,
        score=scores.score,
        projection=shown,
        selected=(layer, head),
        mask=mask,
        decided=scores.decided(method) if decided and projection != cut.DECIDED else None,
        ranks=ranks,
        width=600,
        height=540,
        dark=theme.is_dark(),
    )
    theme.show(
        grid, "heads_grid", spec=run.spec, on_select=lambda: controls.pick_head("heads_grid"), selection_mode="points"
    )
with right:
    st.markdown(
        f"**Head {head + 1} of layer {layer + 1}: rank {ranks[layer, head]:.0f} of {count}**, "
        f"{Scale.of(values).text(values[layer, head])} by {what}"
    )
    if decided and mask is not None and not mask[layer, head]:
        st.caption(cut.why(run, scores, layer, head))
    image = controls.choose_image("heads", run, count=6, side=58)
    with sentences(stop=False), st.spinner("Looking through this head ..."):
        query = links.patch("query", cached.anatomy(run.subject).grids[layer], None)
        before, after = (cached.attention(run.subject, image, layer, query, tuned) for tuned in (False, True))
        pixels, most = cached.test_image(run, image), cached.strongest(before, after, head)
        columns = st.columns(2)
        with columns[0]:
            controls.overlay("heads_before", pixels, before, head, "Before tuning", spec=run.spec, zmax=most, width=235)
        with columns[1]:
            controls.overlay("heads_after", pixels, after, head, "After tuning", spec=run.spec, zmax=most, width=235)
        st.markdown(
            f"**Tuning moved {percent(cached.shift(before, after, head))} of this head's attention** "
            f"on {cached.image_name(image)}, where {controls.asking(before)} asks."
        )
        st.caption("Click a patch to let it ask. Both pictures share one scale.")
        with st.container(horizontal=True):
            controls.by_number("heads", cached.anatomy(run.subject).grids[layer], before)
            controls.ask_class_token("heads", run, before)

captions.caption(
    f"{run.told}; {SCORES[score]}: {what}. {'Crossed heads were switched off. ' if mask is not None else ''}Layers count from 1 at the bottom, heads from the left.",
    words.command(run.spec),
)
controls.invite(run)
edit_mask.draw(run, history[-1][1] if history else scores, (layer, head))

with st.container(key="wrap_profile"):
    left, right = st.columns([9, 11], gap="medium")
with left:
    profile = figures.layer_profile(spread, score=scores.score, height=480, dark=theme.is_dark())
    theme.show(profile, "heads_profile", spec=run.spec)
    captions.caption(f"{SCORES[score].capitalize()}, {shown}: how it spreads over the layers.")
frames = subjects.frames(history, None if projection == cut.DECIDED else projection)
if len(frames) > 1:
    with right:
        grown = figures.scores_over_steps(
            frames, score=history[-1][1].score, projection=shown, width=600, height=560, dark=theme.is_dark()
        )
        theme.show(grown, "heads_over_steps", spec=run.spec)
        captions.caption(
            f"The {history[-1][1].score} score as training collected it, step by step. Play it, or drag the slider."
        )
