"""What the pages that look into a run share: which run, which head, which patch asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from app import cached, errors, links, looks, navigation, subjects, theme, words
from app.drawn import plan
from peftcore.errors import HeadroomError
from peftcore.figures.attention import attention_overlay, patch_picker
from peftcore.figures.method_style import method_title
from peftcore.figures.words import percent


def choose_run(page: str, offered: Sequence[subjects.Run], method: str) -> subjects.Run:
    """A select box of runs; the address may name any other run. Without runs of the reader's own: an invitation.

    `method`: of the recorded example that is shown first, and what the launch page is opened with where there is none.
    """
    asked = links.read("run")
    offered = list(offered)
    if asked and asked not in [run.subject.id for run in offered]:
        try:
            offered.insert(0, subjects.run(subjects.named(asked)))
        except HeadroomError as error:
            errors.show(error)
    if not offered:
        st.info("There is no run to look at yet. Train one: it takes a minute.", icon=":material/rocket_launch:")
        navigation.link("launch", "Launch a run", method=method)
        st.stop()
    newest = offered[0]
    if newest.example:
        newest = next((run for run in offered if run.method == method), newest)
    chosen = links.choice(
        st.selectbox,
        page,
        "run",
        "run",
        offered,
        default=newest,
        show=lambda run: run.title + (f", {words.age(run.finished)}" if run.finished else ""),
        code=lambda run: run.subject.id,
    )
    if not asked:
        links.write(run=chosen.subject.id)  # tomorrow's newest run is another one: the link names this one
    return chosen


def invite(run: subjects.Run) -> None:
    """Under a recorded example: what it is, and the way to one's own."""
    if run.of:
        st.caption(f"This is a recorded run of {run.of}. Those weights do not travel with Headroom.")
        navigation.link("launch", f"Launch {method_title(run.method)} on other weights", method=run.method)
    elif run.example:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(
                "This is a recorded example: a real run that travels with Headroom. Make your own:", width="content"
            )
            navigation.link("launch", f"Launch {words.run_title(run.spec)}", method=run.method, task=run.spec["task"])


def choose_head(page: str, values: np.ndarray) -> tuple[int, int]:
    """Select boxes of layer and head, from 0; by default the strongest of `values` (layers, heads)."""
    top_layer, top_head = np.unravel_index(int(np.nanargmax(np.abs(values))), values.shape)
    left, right = st.columns(2)
    with left:
        layer = _nth(page, "layer", len(values), int(top_layer))
    with right:
        return layer, _nth(page, "head", max(1, int(np.isfinite(values[layer]).sum())), int(top_head))


def _nth(page: str, name: str, count: int, default: int) -> int:
    """A select box of 1 to `count` that the address names, from 0."""
    said = links.number(name, 1, count, min(default, count - 1) + 1) - 1
    return links.choice(
        st.selectbox,
        page,
        name,
        name,
        range(count),
        default=said,
        show=lambda index: f"{index + 1} of {count}",
        code=lambda index: str(index + 1),
    )


def by_number(page: str, grid: tuple[int, int], look: looks.Look) -> None:
    """The patch that asks, by row and column: what a click on it does, for the keyboard."""
    row, column = look.asked or (grid[0] // 2, grid[1] // 2)
    with st.popover("Patch by number", icon=":material/grid_on:", type="tertiary"):
        keys = [f"{page}_row", f"{page}_column"]
        for key, label, value, most in zip(keys, ("row", "column"), (row, column), grid, strict=True):
            st.session_state[key] = min(value, most - 1) + 1
            st.number_input(
                label, 1, most, key=key,
                on_change=lambda: links.write(query="-".join(str(st.session_state[key]) for key in keys)),
            )  # fmt: skip


def choose_number(page: str, name: str, label: str, count: int, *, mean: bool = False, rollout: bool = False) -> int:
    """A select box of 1 to `count`, the last by default; with `mean`, the mean over all is first and the default; with
    `rollout`, the way through all of them is last."""
    named = {looks.MEAN: ("mean of all", "mean"), looks.ROLLOUT: ("rollout through all", "rollout")}
    return links.choice(
        st.selectbox,
        page,
        name,
        label,
        [*([looks.MEAN] if mean else []), *range(count), *([looks.ROLLOUT] if rollout else [])],
        default=looks.MEAN if mean else count - 1,
        show=lambda index: named[index][0] if index in named else f"{index + 1} of {count}",
        code=lambda index: named[index][1] if index in named else str(index + 1),
    )


def pick_head(key: str) -> None:
    """What a click on a cell of the grid does."""
    if clicked := links.clicked(key):
        links.write(layer=clicked[0] + 1, head=clicked[1] + 1)


def pick_query(key: str) -> None:
    """What a click on a patch does: it becomes the one that asks."""
    if clicked := links.clicked(key):
        links.write(query=f"{clicked[0] + 1}-{clicked[1] + 1}")


def asking(look: looks.Look) -> str:
    """Who asks, in words."""
    if look.asked is None:
        return "the class token"
    return f"the patch in row {look.asked[0] + 1}, column {look.asked[1] + 1}"


def ask_class_token(page: str, run: subjects.Run, look: looks.Look) -> None:
    """A button that lets the class token ask, where there is one and it does not ask already."""
    if look.asked is not None and cached.anatomy(run.subject).prefix_tokens:
        st.button(
            "Let the class token ask",
            key=f"{page}_class",
            icon=":material/label:",
            on_click=links.write,
            kwargs={"query": "class"},
        )


def overlay(
    key: str,
    image: np.ndarray,
    look: looks.Look,
    head: int,
    title: str,
    *,
    spec: Mapping[str, Any],
    zmax: float | None = None,
    fixed: bool = False,
    width: int = 300,
) -> None:
    """One map over the image, of a run with this spec; a click on it picks the next query, unless that is `fixed`."""
    grid, prefix = look.head(head)
    note = f"at most {percent(float(grid.max()))} on one patch"
    if look.has_prefix:
        registers = look.to_registers(head)
        note = f"{_share(prefix - (registers or 0.0))} goes to the class token"
        if registers is not None:
            note += f", {_share(registers)} to registers"
    figure = plan(attention_overlay, image, grid, look.asked, title, zmax, note=note, width=width, dark=theme.is_dark())
    theme.show(figure, key, spec=spec, on_click=None if fixed else lambda: pick_query(key))


def _share(value: float) -> str:
    return percent(value) if value >= 0.0005 else "next to nothing"


def picker(
    key: str,
    image: np.ndarray,
    grid: tuple[int, int],
    query: tuple[int, int] | None,
    title: str,
    *,
    spec: Mapping[str, Any],
    note: str = "",
    width: int = 300,
) -> None:
    """The plain image whose patches take a click; it stands beside maps, and is marked as they are."""
    figure = plan(patch_picker, image, grid, query, title=title, note=note, width=width, dark=theme.is_dark())
    theme.show(figure, key, spec=spec, on_click=lambda: pick_query(key))
