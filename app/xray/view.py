"""One adapter by its weights: what it was trained for, its heads, and the size and spectrum of each update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from app import captions, errors, links, screen, theme
from app.drawn import plan
from app.subjects import Scores
from app.xray.sources import Source
from peftcore.figures import heads, xray
from peftcore.figures.words import si_bytes

if TYPE_CHECKING:
    from peftcore.bench.xray import Adapter

TOGETHER = "together"
EFFECTIVE = (
    "Effective rank: exp of the entropy of the normalised singular values (Roy and Vetterli 2007): 1 where one "
    "direction is all, r where r are equal."
)


def about(adapter: Adapter) -> None:
    """Who wrote it, for what, and what else is in the file."""
    facts = "; ".join(f"{name} {errors.plain(value)}" for name, value in adapter.facts.items() if value)
    others = ""
    if adapter.others:
        named = ", ".join(errors.plain(name) for name in list(adapter.others)[:4])
        others = f" Also in it: {named}{' and more' if len(adapter.others) > 4 else ''}."
    size = si_bytes(sum(4 * update.rank * sum(update.shape) for update in adapter.updates))
    st.markdown(
        f"**{adapter.method}, written by {adapter.writer}**: {facts}. {len(adapter.updates)} updates, {size} in fp32."
        f"{others}"
    )


def ask_heads(adapter: Adapter) -> None:
    """Where the file does not say how many heads a block has: the guess, and a field to correct it."""
    if adapter.guessed is None and not links.read("heads"):
        return
    said = links.number("heads", 1, 256, adapter.guessed or 12)
    key = "xray_heads"
    st.session_state[key] = said
    st.number_input(
        "heads in a block: the file does not name a model of timm"
        + (", so heads of 64 are assumed" if adapter.guessed else ""),
        1, 256, key=key, on_change=lambda: links.write(heads=st.session_state[key]),
    )  # fmt: skip


def ask_scale(source: Source) -> float | None:
    """The scale of a PETL-ViT file whose name does not give it; None for all other adapters."""
    if not source.needs_scale:
        return None
    try:
        said = float(links.read("scale") or 1.0)
    except ValueError:
        said = 1.0
    key = "xray_scale"
    st.session_state[key] = min(max(said, 1e-6), 1e6)
    return st.number_input(
        "scale s with which it was trained: its name does not say; norms are proportional to it", 1e-6, 1e6, key=key,
        format="%g", on_change=lambda: links.write(scale=st.session_state[key]),
    )  # fmt: skip


def projection(scores: Scores) -> str:
    """Which projection's heads are shown."""
    return links.choice(
        st.segmented_control, "xray", "projection", "projection", [TOGETHER, *scores.projections], default=TOGETHER,
        show=lambda name: "+".join(scores.projections) if name == TOGETHER else name, required=True,
    )  # fmt: skip


def values(scores: Scores, chosen: str) -> np.ndarray:
    """(layers, heads)."""
    return scores.of_projection(chosen)[0] if chosen in scores.projections else scores.summed()


def grid(key: str, adapter: Adapter, chosen: str, *, title: str | None = None, width: int = 560) -> None:
    """The head grid, or why there is none."""
    if adapter.scores is None:
        st.info(f"No head grid: {errors.plain(adapter.no_scores)}", icon=":material/grid_off:")
        return
    scores = Scores.of(adapter.scores.to_dict())
    figure = plan(heads.head_grid,
        values(scores, chosen), scores.layers, score="energy", title=title, note="",
        projection=chosen if chosen in scores.projections else "+".join(scores.projections),
        **screen.fit(width, 520), dark=theme.is_dark(),
    )  # fmt: skip
    theme.show(figure, key)


def sizes(adapter: Adapter) -> None:
    """Norms and effective ranks by layer and projection."""
    columns = adapter.projections
    if not columns:
        st.info("No update lies in a block; the table below has them all.", icon=":material/info:")
        return
    norms, ranks = adapter.table("norm"), adapter.table("effective_rank")
    if not np.nan_to_num(norms).any():
        st.info("Nothing has changed yet: every update is zero.", icon=":material/info:")
        return
    ranks = np.where(norms == 0, np.nan, ranks)
    top = np.unravel_index(int(np.nanargmax(norms)), norms.shape)
    size: dict[str, Any] = screen.fit(max(240, 90 + 60 * len(columns)), 560) | {"dark": theme.is_dark()}
    one, two = st.columns(2) if len(columns) <= 3 else (st.container(), st.container())
    with one:
        title = f"{columns[top[1]]} of layer {top[0] + 1} changed most"
        note = "norm of each update"
        theme.show(plan(xray.by_layer, norms, columns, title=title, what="‖ΔW‖", note=note, **size), "xray_norms")
    with two:
        full = max(min(update.rank, *update.shape) for update in adapter.updates)
        title = f"Effective rank {np.nanmin(ranks):.1f} to {np.nanmax(ranks):.1f}"
        note = f"of each update, {full} at most"
        theme.show(
            plan(xray.by_layer, ranks, columns, title=title, what="effective rank", note=note, **size), "xray_ranks"
        )
    captions.caption(f"‖ΔW‖ is the Frobenius norm. {EFFECTIVE}")


def spectra(adapter: Adapter) -> None:
    """The singular values of one projection's updates."""
    columns = list(adapter.projections)
    if not columns:
        return
    shown = links.choice(
        st.segmented_control, "xray", "spectrum", "singular values of", columns, default=columns[0], required=True
    )
    found = [(layer, update) for layer in range(len(adapter.layers)) if (update := adapter.at(layer, shown))]
    found = [(layer, update) for layer, update in found if update.norm > 0]
    if not found:
        st.info(f"{errors.plain(shown)} has not moved: every update of it is zero.", icon=":material/info:")
        return
    shares = [float((update.values[:1] ** 2).sum() / update.norm**2) for _, update in found]
    title = f"The first direction of {shown} holds {100 * np.mean(shares):.0f} % of ‖ΔW‖², a mean over layers"
    figure = plan(
        xray.singular_values, [update.values for _, update in found], [layer for layer, _ in found],
        title=title, height=380, dark=theme.is_dark(),
    )  # fmt: skip
    theme.show(figure, "xray_spectra")
    captions.caption("From the small factors by QR and an r x r decomposition: ΔW = BA is never formed.")


def table(adapter: Adapter) -> None:
    """Every update with its numbers, and what else the file holds."""
    with st.expander(f"All {len(adapter.updates)} updates"):
        rows = [
            {
                "update": update.path,
                "projection": update.projection,
                "shape": f"{update.shape[0]} x {update.shape[1]}",
                "rank": update.rank,
                "norm": update.norm,
                "effective rank": update.effective_rank,
                "singular values": list(update.values),
            }
            for update in adapter.updates
        ]
        spectra = {"singular values": st.column_config.LineChartColumn(y_min=0)}
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="xray_updates", column_config=spectra)
        if adapter.others:
            others = [{"also in the file": name, "norm": norm} for name, norm in adapter.others.items()]
            st.dataframe(pd.DataFrame(others), hide_index=True, key="xray_others")


def caption(source: Source) -> None:
    """Under the grid: what it is of, and the command."""
    command = f"python -m peftcore bench xray {source.path.name}" if source.path else None
    captions.caption(
        f"{source.title}: ‖ΔW‖ of each head's rows, from the weights alone. Layers count from 1 at the bottom, heads "
        "from the left.",
        command,
    )
