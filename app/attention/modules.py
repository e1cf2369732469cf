"""A side network module by module: each beside the layer that it reads, and how much it adds to the final token."""

from __future__ import annotations

import streamlit as st

from app import cached, captions, glossary, links, looks, screen, theme, words
from app.drawn import plan
from app.errors import sentences
from app.heads import image_choice
from app.subjects import Run
from peftcore.figures import modules as figures
from peftcore.registry import METHODS


def wanted(run: Run) -> bool:
    """A toggle, where the method has modules to show."""
    if run.method not in METHODS.names(shows="attention"):
        return False
    key, on = "attention_modules", links.read("modules") == "all"
    st.session_state[key] = on
    st.toggle(
        "Module by module", key=key, on_change=lambda: links.write(modules="all" if st.session_state[key] else None),
        help=glossary.linked(
            "Each module of the side network beside the layer that it reads, and what of the final token it added."
        ),
    )  # fmt: skip
    return on


def draw(run: Run, image: int | str, query: tuple[int, int] | None, grid: tuple[int, int]) -> None:
    """Two figures under the page's own. `query`: the patch of `grid` that asks, None for the class token."""
    known = cached.anatomy(run.subject)
    with sentences(stop=False), st.spinner("Looking through every module ..."):
        above, below = [], []
        for module, (layer, own) in enumerate(zip(known.attended, known.side_grids, strict=True)):
            asks = looks.moved(query, grid, own)
            above.append(cached.attention(run.subject, image, layer, asks, tuned=False).head(looks.MEAN)[0])
            below.append(cached.side_attention(run.subject, image, module, asks).head(looks.MEAN)[0])
        alike = len(set(known.side_grids)) == 1
        figure = plan(figures.beside_layers,
            above, below, known.attended, query=looks.moved(query, grid, known.side_grids[0]) if alike else None,
            width=screen.fit(1120)["width"], dark=theme.is_dark(),
        )  # fmt: skip
        theme.show(figure, "attention_beside", spec=run.spec)
        captions.caption(
            f"{run.title}. {cached.image_title(run, image)}; above the backbone, the mean over the heads of the layer "
            "that a module reads, below the module; each map has its own scale.",
            words.command(run.spec),
        )
        names, sizes, shares = cached.added(run.subject, image)
        theme.show(plan(figures.added, names, sizes, shares, dark=theme.is_dark()), "attention_added", spec=run.spec)
        captions.caption(
            f"{run.title}. {cached.image_title(run, image)}: what each module adds to the token that the classifier "
            "reads, before the last norm. The frozen token and these add up to it; shares are along the sum of all "
            "that was added."
            + (" What earlier stages added comes through the frozen patch merging." if known.windowed else "")
            + image_choice.size_note(run),
            words.command(run.spec),
        )
