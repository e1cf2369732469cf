"""Which heads did this task move? The layer x head grid of a run, and what one head looks at."""

import streamlit as st

from app import captions, screen, subjects, theme, words
from app.drawn import plan
from app.heads import all_heads, controls, edit_mask, effects, look, opinions, shown, stability
from peftcore.figures import heads as figures
from peftcore.figures.score_steps import scores_over_steps
from peftcore.figures.squares import Scale

st.title("Which heads did this task move?")
row = st.columns([5, 2, 3], vertical_alignment="bottom")
with row[0]:
    offered = [*subjects.runs("scores"), *subjects.looked_through()]
    run = controls.choose_run("heads", offered, method="heart_lora")
with row[2]:
    score = shown.choose_score()
history = subjects.scores_by_epoch(run.subject)
scores = shown.scores_of(run, score, history)
with row[1]:
    view = shown.choose_projection(run, scores, score)

with st.container(key="wrap_heads"):
    left, right = st.columns([11, 9], gap="medium")
with right:
    layer, head = controls.choose_head("heads", view.values)
with left:
    grid = plan(
        figures.head_grid,
        view.values,
        scores.layers,
        score=scores.score,
        projection=view.of,
        selected=(layer, head),
        mask=view.mask,
        decided=view.decided,
        ranks=view.ranks,
        title=opinions.title(score, view.values),
        **screen.fit(600, 540),
        dark=theme.is_dark(),
    )
    theme.show(grid, "heads_grid", spec=run.spec, on_click=lambda: controls.pick_head("heads_grid"))
with right:
    st.markdown(
        f"**Head {head + 1} of layer {layer + 1}: rank {view.ranks[layer, head]:.0f} of {view.count}**"
        f"{view.together(layer)}, {Scale.of(view.values).text(view.values[layer, head])} by {view.what}"
    )
    if why := view.why_off(run, layer, head):
        st.caption(why)
    look.through(run, layer, head)

captions.caption(
    f"{run.caption}; {shown.SCORES[score]}: {view.what}. "
    f"{'Crossed heads were switched off. ' if view.mask is not None else ''}"
    "Layers count from 1 at the bottom, heads from the left.",
    words.command(run.spec),
)
controls.invite(run)
all_heads.draw(run, (layer, head))
edit_mask.draw(run, history[-1][1] if history else scores, (layer, head))

frames, of = view.in_training(history)
with st.container(key="wrap_profile"):
    places = st.columns([9, 11], gap="medium") if len(frames) > 1 else [st.container()]
with places[0]:
    profile = plan(figures.layer_profile, view.spread, score=scores.score, height=480, dark=theme.is_dark())
    theme.show(profile, "heads_profile", spec=run.spec)
    captions.caption(f"{shown.SCORES[score].capitalize()}, {view.of}: how it spreads over the layers.")
if len(frames) > 1:
    with places[1]:
        grown = plan(
            scores_over_steps,
            frames,
            score=history[-1][1].score,
            projection=of,
            **screen.fit(600, 560),
            dark=theme.is_dark(),
        )
        theme.show(grown, "heads_over_steps", spec=run.spec)
        captions.caption(
            f"The {history[-1][1].score} score as training collected it, step by step. Play it, or drag the slider."
        )
if run.has_weights:
    effects.draw(run, view, score, (layer, head))
    opinions.draw(run, history[-1][1] if history else None)
stability.draw(run, history)
