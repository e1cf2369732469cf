"""Where every head looks, at once: a small map for each, before tuning and after."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st

from app import cached, captions, heavy, links, looks, recordings, screen, theme
from app.drawn import plan
from app.errors import sentences
from app.heads import controls, image_choice, look
from app.looks import Look
from app.subjects import Run
from peftcore.errors import NotMeasurable
from peftcore.figures.head_maps import finding, head_maps

TUNED = {"before": False, "after": True}
Looks = dict[str, list[Look]]  # before and after tuning, by layer


def draw(run: Run, chosen: tuple[int, int]) -> None:
    """The section of the Heads page; nothing for a recording that kept none. `chosen`: layer and head of the select
    boxes."""
    kept = {} if run.has_weights else recordings.looks(run.subject.id)
    if not run.has_weights and not kept:
        return
    st.header("Where do all heads look?", anchor="all-heads")
    if kept:
        photo = look.kept_photograph(kept)
        each = {when: [looks.recorded(one) for one in kept[photo][when]] for when in TUNED}
        return _show(run, each, chosen, cached.image_name(photo))
    key = "heads_all"
    st.session_state[key] = on = links.read("all") == "1"
    st.toggle(
        "Look through every head", key=key, on_change=lambda: links.write(all=1 if st.session_state[key] else None)
    )
    if on and heavy.agreed_for(run.spec, "to look through all of its heads", key="heads_all"):
        with sentences(stop=False):
            image = image_choice.asked("heads", run)
            _show(run, _measured(run, image), chosen, cached.image_name(image))


def _measured(run: Run, image: int | str) -> Looks:
    """One forward for each layer, before tuning and after, with progress. Raises NotMeasurable: no token asks in all of
    them."""
    known = cached.anatomy(run.subject)
    if not known.prefix_tokens:
        raise NotMeasurable("This backbone has no class token that could ask in all heads. Look through one by one.")
    depth, bar, found = len(known.grids), st.empty(), Looks()
    for nth, (when, tuned) in enumerate(TUNED.items()):
        for layer in range(depth):
            bar.progress((nth * depth + layer) / (2 * depth), f"Layer {layer + 1} of {depth}, {when} tuning ...")
            found.setdefault(when, []).append(cached.attention(run.subject, image, layer, None, tuned))
    bar.empty()
    return found


def _show(run: Run, each: Looks, chosen: tuple[int, int], name: str) -> None:
    with st.container(key="wrap_all_heads"):
        places = st.columns(2, gap="medium")
    for place, (when, layers) in zip(places, each.items(), strict=True):
        key, maps = f"heads_all_{when}", np.stack([one.maps for one in layers])
        with place:
            figure = plan(
                head_maps, maps, selected=chosen, title=f"{when.capitalize()} tuning: {finding(maps)}",
                **screen.fit(480, 900), dark=theme.is_dark(),
            )  # fmt: skip
            theme.show(figure, key, spec=run.spec, on_click=partial(controls.pick_head, key))
    captions.caption(
        f"{run.title}: where the class token looks in each head, on {name}. Each map is brightest where its head looks "
        "most. Patches looked at: the exponential of the entropy over patches. Click a head to look through it."
    )
