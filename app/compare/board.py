"""The leaderboard of methods on a task, and what papers published on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import captions, links, navigation, screen, state, theme, words
from app.compare import tables
from app.compare.entries import MOST, Group
from app.drawn import plan
from app.room import who
from peftcore.figures.accuracy import Ground
from peftcore.figures.leaderboard import MOST as MOST_DRAWN
from peftcore.figures.leaderboard import standings
from peftcore.figures.method_style import method_title
from peftcore.store import leaderboard as boards
from peftcore.store import published
from peftcore.store.leaderboard import Leaderboard, Standing
from peftcore.store.published import Published

WIDTH = {True: 38, False: 72}  # letters of a title's line, on a phone and elsewhere
SHOWN = {"best": "Best of each method", "all": "All settings"}
FORMATS = {
    "validation": "%.3f", "test": "%.3f", "from": "%.3f", "to": "%.3f", "spread": "%.3f", "memory (MB)": "%.1f",
    "stored (kB)": "%.0f", "seconds": "%.1f", "trained weights": "localized",
}  # fmt: skip


def draw() -> None:
    """A choice of the task and of what is ranked; the picture, and the table under it."""
    store = state.store()
    known = boards.tasks(store)
    asked = links.read("task")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        task = links.choice(
            st.selectbox, "board", "task", "task", known if asked is None or asked in known else [*known, asked],
            default=known[0], show=words.task_title,
        )  # fmt: skip
        ranked = links.choice(
            st.segmented_control, "board", "ranked", "ranked", list(SHOWN), default="best", show=SHOWN.__getitem__,
            label_visibility="collapsed",
        )  # fmt: skip
    finished = tuple((run.id, run.finished) for run in store.runs(status="finished"))
    board = _board(str(store.folder), task, finished, who.sight())
    some = board.best if ranked == "best" else board.standings
    theirs = published.on_task(task)
    figure = plan(standings,
        rows([*some]),
        _papers_rows(theirs),
        chance=Ground.of(some[0].runs[0].started, "test").chance, validated=board.validated, dark=theme.is_dark(),
        line=WIDTH[screen.is_phone()],
    )  # fmt: skip
    theme.show(figure, "board")
    captions.caption(_caption(board, some, theirs), f"python -m peftcore leaderboard '{task}'{_every(ranked)}")
    codes = [run.code for one in some for run in one.runs][:MOST]
    if len(codes) > 1:
        navigation.link("compare", f"Compare the first {len(codes)} runs side by side", runs=",".join(codes))
    tables.show(table(some), "leaderboard", FORMATS)


@st.cache_data(max_entries=8, show_spinner=False)
def _board(folder: str, task: str, finished: tuple[tuple[int, float | None], ...], sight: str) -> Leaderboard:
    """Read again when another run has finished, or one was deleted or restored."""
    return boards.leaderboard(task, state.store())


def _every(ranked: str) -> str:
    return " --all" if ranked == "all" else ""


def _caption(board: Leaderboard, some: Sequence[Standing], theirs: Sequence[Published]) -> str:
    parts = [f"{len(some)} settings" if len(some) > 1 else "One setting"]
    parts[0] += f" on {words.task_title(board.task)}, finished on this machine or recorded with Headroom."
    if len(some) > MOST_DRAWN:
        parts.append(f"The first {MOST_DRAWN} are drawn, the table has all.")
    if board.validated:
        parts.append("Best by validation accuracy (the stroke) first; test images, the filled mark, choose nothing.")
    else:
        parts.append("This task trains on its validation images, so their order says nothing about new images.")
    parts.append(
        "Bars are 95 % intervals (Wilson) for the number of test images; runs that differ in the seed alone are one "
        "row, their mean."
    )
    if theirs:
        parts.append(_another(theirs))
    return " ".join(parts)


def title(one: Standing) -> str:
    """'LAST, rank 8, recorded'."""
    apart = words.variation(one.differs) if one.differs else ""
    parts = [method_title(one.method), apart, "recorded" if one.recorded else ""]
    return ", ".join(part for part in parts if part)


def rows(some: Sequence[Standing]) -> list[dict[str, Any]]:
    """As the figure takes them, each title once."""
    titles = [title(one) for one in some]
    if len({one.spec["backbone"] for one in some}) > 1:
        titles = [f"{name}, {one.spec['backbone']}" for name, one in zip(titles, some, strict=True)]
    low, high = zip(*(one.interval or (None, None) for one in some), strict=True)
    return [
        {
            "title": name if titles.count(name) == 1 else f"{name} (run {one.runs[0].code})",
            "method": one.method, "kind": one.runs[0].started.get("method_kind"), "val": one.val_accuracy,
            "test": one.test_accuracy, "low": low[nth], "high": high[nth],
            "about": f"{_seeds(one)}, {one.spec['backbone']}",
        }
        for nth, (name, one) in enumerate(zip(titles, some, strict=True))
    ]  # fmt: skip


def _seeds(one: Standing) -> str:
    return "1 seed" if len(one.seeds) == 1 else f"{len(one.seeds)} seeds"


def table(some: Sequence[Standing]) -> pd.DataFrame:
    """A row for each standing; `from` and `to`: the test accuracy's 95 % interval."""
    return pd.DataFrame(
        [
            {
                "place": place, "method": method_title(one.method), "settings": words.variation(one.differs) if
                one.differs else "", "backbone": one.spec["backbone"], "seeds": len(one.seeds),
                "validation": one.val_accuracy, "test": one.test_accuracy,
                "from": one.interval[0] if one.interval else None, "to": one.interval[1] if one.interval else None,
                "spread": one.test_spread, "trained weights": one.parameters,
                "memory (MB)": one.memory and one.memory / 1e6, "stored (kB)": one.stored and one.stored / 1e3,
                "seconds": one.seconds, "recorded": one.recorded, "runs": ", ".join(run.code for run in one.runs),
            }
            for place, one in enumerate(some, 1)
        ]
    )  # fmt: skip


def beside(groups: Sequence[Group], task: str) -> None:
    """The compared runs and what was published on their task, where it is one of VTAB-1K's."""
    theirs = published.on_task(task)
    found = [(group, row) for group, row in ((group, group.row()) for group in groups) if row["accuracy"] is not None]
    if not theirs or not found:
        return
    ours = []
    for group, row in sorted(found, key=lambda pair: -(pair[1]["val_accuracy"] or 0)):
        ground = group.entries[0].ground
        low, high = (ground.interval(row["accuracy"]) if ground else None) or (None, None)
        ours.append(
            {"title": group.label, "method": row["method"], "test": row["accuracy"], "val": row["val_accuracy"],
             "low": low, "high": high, "about": group.entries[0].spec["backbone"]}
        )  # fmt: skip
    theme.show(
        plan(standings, ours, _papers_rows(theirs), dark=theme.is_dark(), line=WIDTH[screen.is_phone()]), "beside"
    )
    captions.caption(f"The runs by validation accuracy, and what was published on {task}. {_another(theirs)}")


def _papers_rows(theirs: Sequence[Published]) -> list[dict[str, Any]]:
    return [
        {"title": one.title, "method": one.method, "test": one.accuracy, "about": f"{one.backbone}; {one.source}"}
        for one in theirs
    ]


def _another(theirs: Sequence[Published]) -> str:
    sources = ", ".join(dict.fromkeys(one.source.partition(" (")[0] for one in theirs))
    return (
        f"Hollow squares are published numbers ({sources}): {theirs[0].backbone}, {theirs[0].protocol}. Another "
        "backbone and another protocol: see which methods lead there, and compare no number with a run's."
    )


def papers() -> None:
    """What papers report over all of VTAB-1K, folded away under one's own runs."""
    with st.expander("What papers report on VTAB-1K", icon=":material/menu_book:"):
        st.caption(
            "Published numbers, none measured here: another backbone (ViT-B/16 or Swin-B, pretrained on ImageNet-21k), "
            f"another protocol ({published.record()['protocol']} of each of 19 tasks). They say how methods compare "
            "there. The mean of groups and the mean of tasks are two averages; compare each with its like alone."
        )
        frame = pd.DataFrame(published.means())
        numbers = list(frame.select_dtypes("number"))
        frame[numbers] *= 100
        frame["method"] = frame.pop("title")
        columns = {name: st.column_config.NumberColumn(f"{name} (%)", format="%.1f") for name in numbers}
        st.dataframe(frame, hide_index=True, key="compare_papers", column_config=columns, placeholder="")
