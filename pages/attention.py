"""Where does the side network look that the backbone does not? One image, one asking patch, two attentions."""

import streamlit as st

from app import cached, captions, heavy, links, looks, screen, subjects, theme, words
from app.attention import modules
from app.attention.pair import pair_of
from app.drawn import plan
from app.errors import sentences
from app.heads import controls, image_choice
from peftcore.figures.attention import attention_difference
from peftcore.figures.words import percent
from peftcore.registry import METHODS

SIZE = 262  # pixels: four pictures in a row of a page 1280 wide

st.title("Where does the side network look that the backbone does not?")
row = st.columns([6, 2, 2, 2], vertical_alignment="bottom")
with row[0]:
    run = controls.choose_run("attention", subjects.runs("adapter"), method=METHODS.names(shows="attention")[0])
controls.invite(run)
if not heavy.agreed_for(run.spec, "to see where it looks", key="attention"):
    st.stop()
with sentences():
    image = image_choice.choose_image("attention", run, count=14)
    with st.container(horizontal=True, vertical_alignment="center"):
        run = image_choice.finer("attention", run)
        by_module = modules.wanted(run)
        image_choice.photographs("attention")
    with st.spinner("Loading the trained model ..."):
        anatomy = cached.anatomy(run.subject)

with row[1]:
    layer = controls.choose_number("attention", "layer", "layer", len(anatomy.grids), rollout=True)
rollout, head = layer == looks.ROLLOUT, looks.MEAN
if not rollout:
    with row[2]:
        head = controls.choose_number("attention", "head", "head", anatomy.heads[layer], mean=True)
module = None
if anatomy.side_grids:
    with row[3]:
        module = controls.choose_number("attention", "module", "side module", len(anatomy.side_grids))

grid = anatomy.grids[-1 if rollout else layer]
query = links.patch("query", grid, (grid[0] // 2, grid[1] // 2))
with sentences(), st.spinner("Following attention ..."):
    pair = pair_of(run.subject, image, layer, head, module, query)

pixels = cached.test_image(run, image)
columns = st.columns(4, gap="small")
with columns[0]:
    asks = f"{controls.asking(pair.first)} asks"
    controls.picker(
        "attention_picker",
        pixels,
        grid,
        pair.first.asked,
        "Click the patch that asks",
        spec=run.spec,
        note=asks,
        **screen.fit(SIZE),
    )
with columns[1]:
    controls.overlay("attention_first", pixels, pair.first, head, pair.titles[0], spec=run.spec, **screen.fit(SIZE))
if pair.second is None:
    with columns[2]:
        st.info(pair.remark)
else:
    with columns[2]:
        controls.overlay(
            "attention_second", pixels, pair.second, pair.second_head, pair.titles[1], spec=run.spec, **screen.fit(SIZE)
        )
    with columns[3]:
        if pair.remark:
            st.info(pair.remark)
        else:
            difference = plan(
                attention_difference,
                pair.first.head(head)[0],
                pair.second.head(pair.second_head)[0],
                image=pixels,
                names=pair.names,
                query=pair.first.asked,
                title=f"{percent(pair.elsewhere(head))} of the attention differs",
                **screen.fit(SIZE),
                dark=theme.is_dark(),
            )
            key = "attention_difference"
            theme.show(difference, key, spec=run.spec, on_click=lambda: controls.pick_query(key))
with st.container(horizontal=True):
    controls.by_number("attention", grid, pair.first)
    controls.ask_class_token("attention", run, pair.first)
captions.caption(
    f"{pair.note} {run.caption}. {cached.image_title(run, image)}; "
    f"{controls.asking(pair.first)} asks and bright patches are where it looks; each map has its own scale."
    + (" Rollout: (mean over heads of attention + identity) / 2, multiplied through all layers." if rollout else "")
    + (" In a Swin backbone a patch attends within its window, so all else stays dark." if anatomy.windowed else "")
    + image_choice.size_note(run),
    words.command(run.spec),
)
if by_module:
    modules.draw(run, image, pair.first.asked, grid)
