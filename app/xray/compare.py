"""Two adapters: their heads side by side and their difference, and whether their updates point the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from app import captions, links, screen, theme
from app.drawn import plan
from app.subjects import Scores
from app.xray import view
from app.xray.sources import Source
from peftcore.figures import xray
from peftcore.figures.atlas import multiples
from peftcore.figures.words import correlation

if TYPE_CHECKING:
    from peftcore.bench._likeness import Likeness
    from peftcore.bench.xray import Adapter


def draw(first: Adapter, second: Adapter, chosen: str) -> None:
    """Both grids and their difference."""
    st.header("How alike are the two?", anchor=False)
    both = [Scores.of(adapter.scores.to_dict()) for adapter in (first, second) if adapter.scores]
    if len(both) == 2 and both[0].values.shape[::2] == both[1].values.shape[::2]:
        _difference(first, second, both, chosen)
    else:
        left, right = st.columns(2, gap="medium")
        for column, key, adapter in ((left, "xray_first", first), (right, "xray_second", second)):
            with column:
                view.grid(key, adapter, chosen, width=520)
        st.info("Their heads do not match one to one, so there is no difference to draw.", icon=":material/info:")


def _difference(first: Adapter, second: Adapter, both: list[Scores], chosen: str) -> None:
    with st.container(key="wrap_xray_both"):
        columns = st.columns(3, gap="small")
    for column, key, adapter, title in zip(
        columns, ("xray_first", "xray_second"), (first, second), ("First", "Second"), strict=False
    ):
        with column:
            view.grid(key, adapter, chosen, title=title, width=380)
    one, two = (multiples(view.values(scores, chosen)) for scores in both)
    gap = two - one
    layer, head = np.unravel_index(int(np.nanargmax(np.abs(gap))), gap.shape)
    way = "more" if gap[layer, head] > 0 else "less"
    with columns[2]:
        figure = plan(
            xray.by_layer, gap, [str(number + 1) for number in range(gap.shape[1])], columns_are="head",
            what="times the median head, second minus first",
            title=f"Second minus first: head {head + 1} of layer {layer + 1} moved {way}", written=False,
            **screen.fit(380, 520), dark=theme.is_dark(),
        )  # fmt: skip
        theme.show(figure, "xray_difference")
    captions.caption(
        "Difference of the energies as multiples of each adapter's own median head, so that size is left out."
    )


def directions(found: Likeness | None) -> None:
    """Three matrices of likeness."""
    if found is None:
        st.info(
            "They share no projection of one shape, so their directions cannot be compared.", icon=":material/info:"
        )
        return
    allowed = list(found.output)
    count = links.choice(
        st.segmented_control, "xray", "directions", "leading directions that are compared", allowed,
        default=allowed[min(2, len(allowed) - 1)], required=True,
    )  # fmt: skip
    tables = {"output": found.output[count], "input": found.input[count], "cosine": found.cosine}
    random = count * found.chance
    titles = {
        "output": f"Outputs overlap by {np.nanmean(tables['output']):.2f}; random ones by {random:.2g}",
        "input": f"Inputs overlap by {np.nanmean(tables['input']):.2f}",
        "cosine": f"As vectors, their cosine is {correlation(np.nanmean(tables['cosine']))}",
    }
    with st.container(key="wrap_xray_overlap"):
        columns = st.columns(3, gap="medium")
    for column, (name, values) in zip(columns, tables.items(), strict=True):
        with column:
            figure = plan(
                xray.by_layer, values, found.projections, title=titles[name], what=name,
                reach=1.0 if name != "cosine" else None, **screen.fit(340, 520), dark=theme.is_dark(),
            )  # fmt: skip
            theme.show(figure, f"xray_{name}")
    captions.caption(
        f"Overlap of the spaces that the first {count} singular directions of both span, on the side of outputs (U) "
        "and of inputs (V): ‖UᵀU'‖²/k, 1 where they are the same (Hu et al. 2021, section 7.2). Random spaces "
        "overlap by k/d."
    )


def caption(first: Source, second: Source) -> None:
    captions.caption(f"First: {first.title}. Second: {second.title}.")
