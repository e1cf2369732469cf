"""Figures of little, of much and of odd numbers: what they draw is seen, and what they say is true."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from figure_examples import training

from peftcore.figures import (
    accuracy,
    compare,
    confusion,
    cost,
    curves,
    effects,
    heads,
    memory,
    races,
    results,
    score_steps,
    stability,
    tasks,
    theme,
    words,
    xray,
)


def end(figure: go.Figure, axis: str = "yaxis") -> float:
    return figure.layout[axis].range[1]


def test_a_validation_loss_above_the_training_loss_is_within_the_axis():
    losses = [1.4, 1.9, 2.6, 3.3, 4.1]
    evaluations = pd.DataFrame({"step": [40, 80, 120, 160, 200], "split": "val", "accuracy": 0.6, "loss": losses})
    assert end(curves.loss_curve(training(200)[0], evaluations, 200)) > 4.1
    assert end(curves.loss_curve(training(200)[0], evaluations[:0], 200)) < 4.1


def test_a_run_that_bursts_does_not_press_the_others_flat():
    epochs = np.linspace(0, 5, 30)
    steps = [pd.DataFrame({"epoch": epochs, "loss": np.geomspace(2, last, 30)}) for last in (0.5, 800)]
    none = pd.DataFrame()
    lanes = [races.Lane(f"lr {n}", "lora", steps=one, evaluations=none, total=30) for n, one in enumerate(steps)]
    assert 2 < end(races.race_curves(lanes, 5, title="Two")) <= 8
    assert 2 < end(compare.runs_overlay({"a": steps[0], "b": steps[1]}, y="loss")) <= 8


@pytest.mark.parametrize("size, power", [(1e-3, "⁻³"), (3e-7, "⁻⁷"), (1.0, "")])
def test_small_numbers_fit_into_their_squares(size, power):
    values = np.linspace(-3, 3, 72).reshape(12, 6) * size
    figure = xray.by_layer(values, ["q", "k", "v", "proj", "fc1", "fc2"], title="t", what="cosine", width=340)
    said = next(trace.text for trace in figure.data if trace.name == "signs")
    assert max(map(len, said)) <= 5 and f"in 10{power}" * bool(power) in figure.layout.title.text


@pytest.mark.parametrize("spectra", [[[3.0], [2.0]], [[1.0, 0.1], [1.0, 0.1]]])
def test_the_least_singular_value_lies_above_the_axis(spectra):
    figure = xray.singular_values([np.array(one) for one in spectra], [0, 1], title="t")
    assert figure.layout.yaxis.range[0] < np.log10(min(one[-1] / one[0] for one in spectra))
    assert len({note.yshift for note in figure.layout.annotations}) == 2


def test_a_note_is_no_wider_than_its_figure():
    values = np.random.default_rng(0).random((12, 3))
    narrow, wide = (
        heads.head_grid(values, score="taylor", projection="q+v", selected=(10, 2), note=note, width=600, height=540)
        for note in (None, "short")
    )
    small = narrow.layout.title.text.partition("<span")[2].partition(">")[2].removesuffix("</span>")
    assert "<br>" in small and max(map(len, small.split("<br>"))) * theme.SMALL_LETTER <= narrow.layout.width
    assert narrow.layout.height > wide.layout.height and narrow.layout.margin.t > wide.layout.margin.t


def test_long_names_of_classes_leave_room_for_the_figure():
    classes = [f"{n} {'very ' * 20}long" for n in range(6)]
    drawn = (
        tasks.class_balance(dict.fromkeys(classes, 3)),
        results.by_class(classes, [0.5] * 5 + [0.9], [0.4] * 6, [0.9] * 6, [10] * 6),
    )
    for figure in drawn:
        assert len(figure.layout.yaxis.ticktext) == 6 and max(map(len, figure.layout.yaxis.ticktext)) <= 28
        assert set(figure.layout.yaxis.tickvals) == set(figure.data[0].y)
    assert len(drawn[1].layout.title.text) < 100


def test_of_many_classes_those_that_are_confused_most_are_drawn_as_themselves():
    counts = np.eye(397, dtype=int) * 50
    counts[300, 20], counts[390, 391] = 40, 7
    figure = confusion.confusion(counts, [f"class {n}" for n in range(397)], selected=(200, 201))
    cells = np.array(figure.data[0].customdata)
    assert len(cells) <= 62 and "of 397 classes" in figure.layout.title.text
    assert "class 300 taken for class 20, 40 times" in figure.layout.title.text.replace("<br>", " ")
    [mistake] = cells[(cells[..., 0] == 300) & (cells[..., 1] == 20)]
    assert mistake[2] == 40 and mistake[3] == pytest.approx(100 * 40 / 90)
    assert {200, 201} <= set(cells[..., 0].ravel()) and len(figure.layout.shapes) == 2


def test_correlations_are_written_in_an_ink_that_is_read():
    figure = stability.correlation_matrix(np.array([[1, 0.96, -0.93], [0.96, 1, 0], [-0.93, 0, 1]]), "abc", title="t")
    written = next(trace for trace in figure.data if trace.name == "signs")
    assert dict(zip(written.text, written.textfont.color, strict=True))["−0.93"] == "#FFFFFF"
    assert len(written.text) == 6


def test_words_of_small_differences_small_shares_and_one():
    given = effects.EXAMPLES["deletion"]
    even = given | dict(loss=[1.0] * len(given["loss"]), accuracy=[0.5] * len(given["loss"]))
    assert "is level with random order" in effects.deletion(**even).layout.title.text
    assert [accuracy.share(1 / n) for n in (2, 10, 16, 397)] == ["0.50", "0.10", "0.062", "0.0025"]
    assert "1 training image in each" in tasks.class_balance(dict.fromkeys("abc", 1)).layout.title.text
    assert "1 of 2 classes has no" in tasks.class_balance({"a": 2, "b": 0}).layout.title.text
    assert results.by_class("ab", [1, 1], [0.9] * 2, [1] * 2, [9] * 2).layout.title.text == "1.00 for every class"
    assert words.correlation(-0.0003) == "0.00"
    rows = [dict(method="last", accuracy=0.9, seconds=seconds) for seconds in (800.0, 1500.0, 4200.0)]
    assert "e+" not in cost.accuracy_vs_cost(rows, "seconds").to_json()


def test_a_single_recorded_step_has_no_player():
    frames = [dict(step=5, values=np.random.default_rng(0).random((4, 4)))]
    one, two = (score_steps.scores_over_steps(frames * n, score="taylor", projection="q") for n in (1, 2))
    assert not one.layout.sliders and not one.frames and "1 recorded step<" in one.layout.title.text
    assert two.layout.sliders and len(two.frames) == 2


def test_names_of_cards_do_not_lie_on_each_other():
    rows = [dict(method="full", source="predicted", frozen_weights=gb * 1e9) for gb in (90, 5)]
    figure = memory.memory_bars(rows, cards=memory.CARDS)
    named = [note.x for note in figure.layout.annotations if note.text.endswith(" GB") and note.yref == "paper"]
    assert len(figure.layout.shapes) == 6 and min(np.diff(named)) >= 0.1 * end(figure, "xaxis")
