"""What an upload holds, before anything is kept: classes, examples, sizes, duplicates, what is broken, the splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st

from app import errors, numbers, pictures, theme
from peftcore.errors import BadData
from peftcore.figures import tasks as figures
from peftcore.figures.words import percent, si_bytes
from peftcore.uploads.decoding import FITS, in_all_fits
from peftcore.uploads.division import SHARES, divide
from peftcore.uploads.intake import Tell
from peftcore.uploads.sets import staying
from peftcore.uploads.survey import Survey

ROWS, PER_ROW, SIDE = 12, 7, 58  # classes that are shown, images of each, pixels of one
LISTED = 500  # files in a list, at most
NAMED_AT_ONCE = 5  # files that are named before a list is opened
DEFAULTS: dict[str, Any] = {"val": 0.2, "test": 0.2, "seed": 0, "split": "given", "fit": FITS[0]}


@dataclass(frozen=True)
class Found:
    """A survey, and thumbnails of its first images by class, for each way to make them square."""

    survey: Survey
    rows: dict[str, list[tuple[str, list[pictures.Thumbnail]]]]


@dataclass(frozen=True)
class Wish:
    """What the reader chose. `query`: the settings of the task, '?val=0.1' or ''."""

    consent: bool
    drop_duplicates: bool
    query: str


def find(shelf: Any, source: BinaryIO | Sequence[tuple[str, BinaryIO]], tell: Tell) -> Found:
    """Examines an upload for a shelf and draws examples; runs beside the page."""
    survey = shelf.examine(source, tell=tell)
    try:
        return Found(survey, _examples(survey, tell))
    except BaseException:
        survey.discard()
        raise


def _examples(survey: Survey, tell: Tell) -> dict[str, list[tuple[str, list[pictures.Thumbnail]]]]:
    rows: dict[str, list[tuple[str, list[pictures.Thumbnail]]]] = {fit: [] for fit in FITS}
    classes = survey.classes[:ROWS]
    for label, name in enumerate(classes):
        files = [survey.files[index] for index in np.flatnonzero(survey.labels == label)[:PER_ROW]]
        images = []
        for number, file in enumerate(files):
            tell("Drawing examples", (label + number / len(files)) / len(classes))
            images.append(in_all_fits(survey.folder / file, 2 * SIDE, survey.bits))
        for fit, of in rows.items():
            drawn = [pictures.thumbnail(image[fit], file, SIDE) for image, file in zip(images, files, strict=True)]
            of.append((name, drawn))
    return rows


def draw(found: Found, name: str) -> Wish | None:
    """The preview with its choices; None while it cannot be kept as it is chosen."""
    survey = found.survey
    st.header(f"{errors.plain(name)}: {len(survey):,} images in {len(survey.classes)} classes", anchor=False)
    st.caption(" · ".join(_facts(survey)))
    with st.container(key="wrap_upload"):
        left, right = st.columns([5, 6], gap="large")
    for note in survey.notes:
        st.info(errors.plain(note), icon=":material/info:")
    division = st.container()
    consent, drop = _skipped(survey), _duplicates(survey)
    chosen = staying(survey, drop)
    with division:
        settings, parts = _division(survey, chosen)
    with left:
        if parts:
            height = max(230, min(ROWS, len(survey.classes)) * (SIDE + 8) + 40)  # as high as the examples beside it
            balance = figures.class_balance(survey.counts(parts), dark=theme.is_dark(), height=height)
            theme.show(balance, "upload_balance")
            numbers.offer()
    with right:
        shown = f"Its first {ROWS} of {len(survey.classes)} classes" if len(survey.classes) > ROWS else "Its classes"
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{shown}, as they will be read**", width="content")
            if (survey.sizes[:, 0] != survey.sizes[:, 1]).any():
                settings["fit"] = _fit()
        st.html(pictures.by_class(found.rows[settings["fit"]], SIDE, PER_ROW))
    if not consent or not parts:
        return None
    changed = {name: value for name, value in settings.items() if value != DEFAULTS[name]}
    return Wish(bool(survey.skipped), drop, f"?{urlencode(changed)}" if changed else "")


def _fit() -> str:
    return st.segmented_control(
        "Images that are not square", FITS, default=FITS[0], required=True, key="upload_fit",
        format_func={"stretch": "stretched", "crop": "cropped to the middle"}.__getitem__, label_visibility="collapsed",
    )  # fmt: skip


def _facts(survey: Survey) -> list[str]:
    wide, high = survey.sizes[:, 0], survey.sizes[:, 1]
    area = wide * high
    small, middle, large = np.argsort(area, kind="stable")[[0, len(area) // 2, -1]]
    if (survey.sizes == survey.sizes[0]).all():
        sizes = f"all {wide[0]:,} × {high[0]:,} pixels"
    else:
        sizes = (
            f"{wide[small]:,} × {high[small]:,} to {wide[large]:,} × {high[large]:,} pixels, "
            f"the middle one {wide[middle]:,} × {high[middle]:,}"
        )
    copies = sum(len(one.files) - 1 for one in survey.duplicates)
    repeated = f"duplicates: {copies:,}" if copies else "no duplicates"
    broken = f"files that cannot be used: {len(survey.skipped):,}" if survey.skipped else "nothing broken"
    return [sizes, si_bytes(survey.bytes), repeated, broken]


def _skipped(survey: Survey) -> bool:
    """Lists what is left out; whether the reader agrees."""
    if not survey.skipped:
        return True
    count = len(survey.skipped)
    title = f"{count:,} {'file' if count == 1 else 'files'} cannot be used"
    with st.expander(title, expanded=count <= NAMED_AT_ONCE):
        _listed(pd.DataFrame(survey.skipped, columns=["file", "why"]), "skipped")
    return st.checkbox(
        f"Go on without {'it' if count == 1 else f'these {count:,}'}",
        key="upload_consent",
        help="Or mend and upload again.",
    )


def _duplicates(survey: Survey) -> bool:
    """Lists images that are there twice; whether only one of each is kept."""
    if not survey.duplicates:
        return False
    count = len(survey.duplicates)
    title = f"{count:,} {'image is' if count == 1 else 'images are'} there more than once"
    for number, what in (
        (sum(one.across_splits for one in survey.duplicates), "in more than one split"),
        (sum(one.across_classes for one in survey.duplicates), "with different labels"),
    ):
        title += f", {number:,} {what}" if number else ""
    with st.expander(title):
        rows = [
            {
                "files": ", ".join(survey.files[index] for index in one.files[:6])
                + ("…" if len(one.files) > 6 else ""),
                "labels": ", ".join(dict.fromkeys(survey.classes[survey.labels[index]] for index in one.files)),
                "splits": "more than one" if one.across_splits else "",
            }
            for one in survey.duplicates
        ]
        listed = pd.DataFrame(rows)
        _listed(listed.loc[:, (listed != "").any()], "duplicates")
    return st.checkbox(
        "Keep one of each, and none that has different labels", value=True, key="upload_once",
        help="The one in test stays rather than the one in training, so that test images are new.",
    )  # fmt: skip


def _listed(rows: pd.DataFrame, name: str) -> None:
    """The first rows, and all of them as a file."""
    place = st.container(key=f"own_csv_upload_{name}")
    place.dataframe(rows.head(LISTED), hide_index=True, width="stretch", height="content")
    with st.container(horizontal=True, vertical_alignment="center"):
        if len(rows) > LISTED:
            st.caption(f"And {len(rows) - LISTED:,} more.", width="content")
        numbers.button("List (CSV)", rows, f"upload_{name}")


def _division(survey: Survey, chosen: np.ndarray) -> tuple[dict, dict[str, np.ndarray]]:
    """The settings of the splits, and the splits by index; none where there are too few images."""
    given, row = survey.given[chosen], st.columns([4, 3, 3, 2], vertical_alignment="bottom")
    settings: dict[str, Any] = dict(DEFAULTS)
    if (given >= 0).any():
        with row[0]:
            settings["split"] = st.segmented_control(
                "Splits", ["given", "drawn"], default="given", required=True, key="upload_split",
                format_func={"given": "As they are in it", "drawn": "Drawn anew"}.__getitem__,
            )  # fmt: skip
    else:
        row[0].caption("It has no splits: they are drawn, with every class in proportion. All else trains.")
    drawn = settings["split"] == "drawn" or not {1, 2} <= {*given.tolist()}
    for place, name, label in ((row[1], "val", "To validate"), (row[2], "test", "To test")):
        with place:
            settings[name] = st.select_slider(
                label,
                SHARES,
                value=DEFAULTS[name],
                format_func=percent,
                key=f"upload_{name}",
                disabled=not drawn,
            )
    with row[3]:
        settings["seed"] = st.number_input("Seed", 0, 999, DEFAULTS["seed"], key="upload_seed", disabled=not drawn)
    try:
        parts = divide(
            survey.labels[chosen],
            given,
            settings["val"],
            settings["test"],
            settings["seed"],
            settings["split"] == "drawn",
        )
    except BadData as error:
        errors.show(error)
        return settings, {}
    return settings, {name: chosen[part] for name, part in parts.items()}
