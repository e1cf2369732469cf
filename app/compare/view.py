"""What is shown of the runs that are compared: cost, curves, settings and numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app import captions, errors, links, navigation, numbers, screen, subjects, theme, words
from app.compare import board, tables
from app.compare.entries import LEAST, MOST, Entry, Group, first_choice, groups, offered
from app.drawn import plan
from peftcore.figures import compare as figures
from peftcore.figures.accuracy import Ground
from peftcore.figures.cost import accuracy_vs_cost
from peftcore.figures.method_style import method_title
from peftcore.store import conditions
from peftcore.store.variations import differences

Y = {"val_accuracy": "validation accuracy", "loss": "training loss"}
X = ("epoch", "step", "seconds")
FORMATS = {
    "test accuracy": "%.3f", "from": "%.3f", "to": "%.3f", "validation": "%.3f", "mean of seeds": "%.3f",
    "spread": "%.3f", "memory (MB)": "%.1f", "stored (kB)": "%.0f", "seconds": "%.1f",
}  # fmt: skip
COSTS = {"memory": "peak memory", "parameters": "trained weights", "stored": "stored bytes", "seconds": "time"}


def choose() -> list[Entry]:
    """The runs that the address names, 2 to 12; a field to change them."""
    named = subjects.each_once(links.listed("runs"))
    entries, faults = offered(named[:MOST])
    by_code = {entry.code: entry for entry in entries}
    default = [entry.code for entry in first_choice(entries)]
    apart = dict(zip(by_code, words.apart([entry.spec for entry in entries]), strict=True))

    def show(code: str) -> str:
        entry = by_code[code]
        number = entry.code if entry.record else "example"
        return f"{number}: {words.run_title(entry.spec)}{apart[code] if entry.record else ''}"

    chosen = links.several(
        "compare", "runs", "runs", list(by_code), default=default, show=show, read=subjects.plain, max_selections=MOST,
        placeholder=f"{LEAST} to {MOST} runs",
    )  # fmt: skip
    for fault in faults:
        errors.show(fault)
    if len(named) > MOST:
        st.info(f"At most {MOST} runs are compared; the first {MOST} are shown.", icon=":material/info:")
    found = [by_code[code] for code in chosen[:MOST]]
    if not any(entry.record for entry in found):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption("These are recorded examples: real runs that travel with Headroom.", width="content")
            navigation.link("launch", "Launch your own")
    if len(found) < LEAST:
        st.info(f"Choose {LEAST} to {MOST} runs to compare.", icon=":material/compare_arrows:")
        st.stop()
    return found


def one_task(entries: Sequence[Entry]) -> list[Entry]:
    """The runs on one task: accuracies on different tasks say nothing about each other. A choice where there are
    several."""
    tasks = list(dict.fromkeys(entry.spec["task"] for entry in entries))
    if len(tasks) == 1:
        return list(entries)
    most = max(tasks, key=lambda task: sum(entry.spec["task"] == task for entry in entries))
    task = links.choice(st.segmented_control, "compare", "task", "task", tasks, default=most, show=words.task_title)
    st.caption(
        f"These runs are on {len(tasks)} tasks. Accuracies and mistakes can be compared on one task at a time; "
        "settings, memory and time stand side by side for all of them below."
    )
    return [entry for entry in entries if entry.spec["task"] == task]


def cost(entries: Sequence[Entry]) -> None:
    """Accuracy against what it costs."""
    by = links.choice(
        st.segmented_control, "compare", "cost", "cost", list(COSTS), default="memory", show=COSTS.__getitem__,
        label_visibility="collapsed",
    )  # fmt: skip
    found = groups(entries)
    known = [row for row in (group.row() for group in found) if row["accuracy"] is not None]
    rows = [row for row in known if row[by]]
    if not rows:
        if known:
            st.info(f"None of these runs has a known {COSTS[by]}; choose another one.", icon=":material/info:")
        elif any(entry.status == "finished" for entry in entries):
            st.info("Their test accuracy is shown when the teacher reveals it.", icon=":material/lock:")
        else:
            st.info("None of these runs has come to its end, so there is no test accuracy yet.", icon=":material/info:")
        return
    ground = next((entry.ground for entry in entries if entry.ground), None)
    across = screen.width() - screen.PADDING - 70 if screen.is_phone() else 850  # the place of the points, at least
    figure = plan(
        accuracy_vs_cost, rows, by, chance=ground.chance if ground else None, dark=theme.is_dark(), across=across
    )
    theme.show(figure, f"compare_cost_{by}")
    several = any(row["spread"] is not None for row in rows)
    single = any(row["interval"] for row in rows)
    captions.caption(
        f"Test accuracy on {words.task_title(entries[0].spec['task'])} against {COSTS[by]}. "
        + ("Runs that differ in the seed alone are one mark: their mean, the bar one standard deviation. " * several)
        + (f"The bar of {'a single run' if several else 'each run'} is its 95 % interval (Wilson). " * single)
        + _sure(entries)
        + f"{captions.POWERS}"
    )
    board.beside(found, entries[0].spec["task"])


def _sure(entries: Sequence[Entry]) -> str:
    texts = [
        f"{entry.name} {entry.ground.read(entry.summary['test_accuracy'])}"
        for entry in entries
        if entry.ground and entry.summary.get("test_accuracy") is not None
    ]
    return f"With 95 % intervals: {'; '.join(texts)}. " if texts else ""


def curves(entries: Sequence[Entry]) -> None:
    """One curve per run over epochs, steps or seconds."""
    with st.container(horizontal=True):
        y = links.choice(
            st.segmented_control, "compare", "y", "value", list(Y), default="val_accuracy", show=Y.__getitem__,
            label_visibility="collapsed",
        )  # fmt: skip
        x = links.choice(st.segmented_control, "compare", "x", "axis", X, default="epoch", label_visibility="collapsed")
    labels = names(entries)
    frames = {labels[entry.code]: entry.curve(y) for entry in entries}
    if not any(map(len, frames.values())):
        st.info("None of these runs has taken a step yet.", icon=":material/info:")
        return
    started = next((entry.started for entry in entries if entry.started), None)
    figure = plan(
        figures.runs_overlay,
        frames,
        methods={labels[entry.code]: (entry.method, (entry.started or {}).get("method_kind")) for entry in entries},
        x=x,
        y=y,
        chance=Ground.of(started, "val").chance if started else None,
        dark=theme.is_dark(),
    )
    theme.show(figure, f"compare_{y}_{x}")
    captions.caption(
        f"{Y[y][0].upper()}{Y[y][1:]} over {x if x != 'seconds' else 'seconds of training'} on "
        f"{words.task_title(entries[0].spec['task'])}, {_list(entries)}."
    )


def names(entries: Sequence[Entry]) -> dict[str, str]:
    """'12 LoRA, seed 1' by code: the number of each run, and what sets it apart from the others."""
    labels = words.labels([entry.spec for entry in entries])
    return {entry.code: f"{entry.code} {apart}" for entry, apart in zip(entries, labels, strict=True)}


def _list(entries: Sequence[Entry]) -> str:
    return ", ".join(entry.name for entry in entries)


def settings(entries: Sequence[Entry]) -> None:
    """Side by side, only what differs."""
    found = differences([entry.spec for entry in entries])
    rows = list(dict.fromkeys(name for one in found for name in one))
    if not rows:
        st.caption("These runs have the same settings.")
        return
    table = {entry.name: [_said(one, name) for name in rows] for entry, one in zip(entries, found, strict=True)}
    frame = pd.DataFrame(table, index=pd.Index([words.setting(name) for name in rows], name="setting"))
    st.container(key="own_csv_settings").dataframe(frame, key="compare_settings")
    numbers.button("Settings (CSV)", frame.reset_index(), "settings")
    common = conditions.in_common([entry.spec for entry in entries], [entry.started for entry in entries])
    st.caption(
        errors.plain(f"What differs between them. In common: {common or 'none of the conditions of an accuracy'}.")
    )


def _said(differs: dict, name: str) -> str:
    if name not in differs:
        return ""
    return method_title(differs[name]) if name == "method" else words.value(differs[name], name)


def listed(entries: Sequence[Entry]) -> None:
    """A table that sorts by a click on a column, searches and downloads."""
    labels = {entry.code: group for group in groups(entries) for entry in group.entries}
    tables.show(table(entries, labels), "comparison", FORMATS)


def table(entries: Sequence[Entry], of: dict[str, Group]) -> pd.DataFrame:
    """One row per run; `from` and `to`: the accuracy's 95 % interval. Where runs differ in the seed alone, their mean
    and spread stand in each of their rows."""
    rows, means = [], {code: group.row() for code, group in of.items()}
    several = any(mean["spread"] is not None for mean in means.values())
    for entry in entries:
        known, ground = entry.numbers, entry.ground
        accuracy = known["accuracy"]
        low, high = (ground.interval(accuracy) if ground and accuracy is not None else None) or (None, None)
        rows.append(
            {
                "run": entry.code, "group": of[entry.code].label, "status": entry.status,
                "task": entry.spec["task"], "backbone": entry.spec["backbone"], "seed": entry.spec["seed"],
                "test accuracy": accuracy, "from": low, "to": high,
                **({"mean of seeds": means[entry.code]["accuracy"]} if several else {}),
                **({"spread": means[entry.code]["spread"]} if several else {}), "validation": known["val_accuracy"],
                "trained weights": known["parameters"], "memory (MB)": (known["memory"] or float("nan")) / 1e6,
                "stored (kB)": (known["stored"] or float("nan")) / 1e3, "seconds": known["seconds"],
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
