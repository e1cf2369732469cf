"""Pictures of fixed size follow the reader's window."""

from __future__ import annotations

import pytest
from drawn import figures

from app import screen
from peftcore.figures.squares import GAP


@pytest.mark.parametrize(
    ("width", "size"),
    [(390, (358, 540)), (800, (600, 540)), (1280, (600, 540)), (1920, (900, 810)), (3840, (900, 810))],
)
def test_a_picture_is_as_wide_as_a_phone_and_grows_on_a_projector(monkeypatch, width, size):
    monkeypatch.setattr(screen, "width", lambda: width)
    assert tuple(screen.fit(600, 540).values()) == size
    assert screen.fit(600) == {"width": size[0]}


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_cells_stay_square_and_apart_in_every_window(at, trained, monkeypatch, width):
    monkeypatch.setattr(screen, "width", lambda: width)
    figure = figures(at("heads", run=trained["lora"]))["heads_grid"]
    layout, cell = figure["layout"], figure["data"][0]["marker"]["size"] + GAP
    across = layout["width"] - layout["margin"]["l"] - layout["margin"]["r"]
    down = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    assert across == down == 8 * cell and layout["width"] <= max(width - screen.PADDING, 600)


def test_a_race_keeps_its_labels_on_a_phone(at, store, monkeypatch):
    from peftcore.spec import RunSpec

    monkeypatch.setattr(screen, "width", lambda: 390)
    race = store.create_race([RunSpec(method={"name": "last", "rank": rank}).to_dict() for rank in (4, 8)])
    for run in race:
        store.set_status(run, "finished", summary={"test_accuracy": 0.5, "val_accuracy": 0.5})
    page = at("runs", race=race[0])
    rows = [row.value for row in page.markdown if "test accuracy" in row.value]
    assert len(rows) == 2 and all(":gray[test accuracy] 0.500" in row for row in rows)
