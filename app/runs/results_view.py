"""The results of one run: which classes it confuses, which images it is sure of and wrong, and whether it knows."""

from __future__ import annotations

from functools import partial
from typing import Literal

import streamlit as st

from app import captions, errors, links, screen, theme, words
from app.drawn import plan
from app.runs import kept_predictions
from peftcore.figures import confusion
from peftcore.figures import results as figures
from peftcore.store import RunRecord, spreadsheet
from peftcore.store.results import Results

ORDERS = {
    "worst": "Worst",
    "uncertain": "Uncertain",
    "best": "Best",
    "cell": "Cell",
}
ANY = -1  # in a class's place: not chosen


def draw(record: RunRecord) -> None:
    found = kept_predictions.of(record)
    if found is None:
        kept_predictions.invite(record)
        return
    counts = found.per_class
    cell = _cell(found)
    with st.container(key="wrap_results"):
        left, right = st.columns([12, 10], gap="medium")
    with left:
        _confusion(found, cell)
    with right:
        _images(found, cell)
    low, high = found.interval
    captions.caption(
        f"{len(found):,} test images of {words.task_title(found.task)}, run {record.id}, seed {record.spec['seed']}: "
        f"{found.accuracy:.3f} are classified correctly (95 %, Wilson: {low:.2f} to {high:.2f}). "
        "A square's colour is its share of the label's images, its number their count; click one to see its images. "
        "Worst: wrong and most sure. Uncertain: the two most probable classes are closest. Best: right and most sure.",
        f"python -m peftcore results {record.id}",
    )
    left, right = st.columns(2, gap="medium")
    dark = theme.is_dark()
    with left:
        columns = (counts[name].to_numpy() for name in ("recall", "low", "high", "images"))
        figure = plan(figures.by_class, found.classes, *columns, overall=found.accuracy, dark=dark)
        theme.show(figure, f"by_class_{record.id}", spec=record.spec)
    with right:
        bins = found.calibration()
        figure = plan(
            figures.reliability,
            bins.edges,
            bins.images,
            bins.confidence,
            bins.accuracy,
            bins.ece,
            dark=dark,
            height=380,
        )
        theme.show(figure, f"reliability_{record.id}", spec=record.spec)
    captions.caption(
        "Left: recall, the share of a class's images that is classified correctly, with 95 % intervals; the dotted "
        "line is the accuracy over all. Right: the images in ten bins by confidence; the expected calibration error "
        "(ECE) is the mean distance from the diagonal over all images.",
        f"python -m peftcore results {record.id} --json",
    )
    _tables(record, found)


def _cell(found: Results) -> tuple[int, int] | None:
    """The cell that the address names: a label and what was predicted."""
    many = len(found.classes)
    label, predicted = (links.number(name, ANY, many - 1, ANY) for name in ("label", "predicted"))
    return None if ANY in (label, predicted) else (label, predicted)


def _confusion(found: Results, cell: tuple[int, int] | None) -> None:
    key = f"confusion_{found.run}"

    def pick() -> None:
        if clicked := links.clicked(key):
            links.write(label=clicked[0], predicted=clicked[1], images="cell")

    figure = plan(
        confusion.confusion, found.confusion, found.classes, selected=cell, **screen.fit(470, 470), dark=theme.is_dark()
    )
    theme.show(figure, key, on_click=pick)


def _images(found: Results, cell: tuple[int, int] | None) -> None:
    """Images in one of ORDERS, each with its probabilities."""
    offered = [one for one in ORDERS if one != "cell" or cell]
    order = links.choice(
        st.segmented_control, "runs", "images", "images", offered, default="cell" if cell else "worst",
        show=ORDERS.__getitem__, label_visibility="collapsed",
    )  # fmt: skip
    with st.container(horizontal=True):
        for name, title in (("label", "label"), ("predicted", "predicted")):
            links.choice(
                st.selectbox,
                "runs",
                name,
                title,
                [ANY, *range(len(found.classes))],
                default=ANY,
                show=lambda n: "any" if n == ANY else found.classes[n],
            )
    numbers = found.cell(*cell) if order == "cell" and cell else found.extreme(order)
    with errors.sentences(stop=False):
        task = kept_predictions.images_of(found)
        page = links.number("page", 0, max(0, (len(numbers) - 1) // kept_predictions.SHOWN), 0)
        some = numbers[page * kept_predictions.SHOWN : (page + 1) * kept_predictions.SHOWN]
        if not len(some):
            st.caption("There is no such image.")
            return
        st.html(kept_predictions.cards(found, task, some))
        kept_predictions.turn("runs", page, len(numbers))


def _csv(found: Results, name: str) -> bytes:
    return spreadsheet.file(found.per_class if name == "classes" else found.table())


def _tables(record: RunRecord, found: Results) -> None:
    table = found.per_class
    with st.expander("Numbers by class"):
        place = st.container(key="own_csv_classes")
        tall: int | Literal["content"] = "content" if len(table) < 25 else 480
        place.dataframe(table.round(3), hide_index=True, key="runs_by_class", height=tall)
    with st.container(horizontal=True):
        for name, title in (("classes", "Classes"), ("answers", "Every image")):
            st.download_button(
                f"{title} (CSV)",
                partial(_csv, found, name),
                file_name=f"run-{record.id}-{name}.csv",
                mime="text/csv",
                key=f"csv_{name}",
                icon=":material/download:",
                on_click="ignore",
            )
