"""Figures of runs, races and comparisons: steady axes, true titles."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from figure_examples import RESULTS, example, lanes, training

from peftcore.errors import BadData
from peftcore.figures import accuracy, compare, cost, curves, races, reached
from peftcore.figures.leaderboard import standings
from peftcore.figures.method_style import method_colour

# Live curves


def test_live_axes_stay_while_the_run_grows() -> None:
    def axes(figure: go.Figure) -> list:
        return [
            figure.layout.xaxis.range,
            figure.layout.xaxis2.range,
            figure.layout.yaxis2.range,
            figure.layout.uirevision,
            len([trace for trace in figure.data if trace.showlegend is not False]),
        ]

    first = axes(curves.loss_curve(pd.DataFrame(), pd.DataFrame(), 200))
    assert all(axes(curves.loss_curve(*training(n), 200)) == first for n in (1, 20, 73, 200))
    assert first[0] == (0, 200)


def test_smoothing_never_changes_the_past() -> None:
    loss = training(200)[0]["loss"].to_numpy()
    np.testing.assert_allclose(curves.smooth(loss[:90], 200), curves.smooth(loss, 200)[:90])
    np.testing.assert_allclose(curves.smooth(np.full(30, 0.7), 200), 0.7)  # debiased


def test_a_diverging_loss_still_draws() -> None:
    steps, evaluations = training(30)
    steps.loc[29, "loss"] = np.nan
    assert curves.loss_curve(steps, evaluations, 200).layout.yaxis.range[1] > 2


def test_the_test_accuracy_is_the_last_word() -> None:
    steps, evaluations = training(200)
    evaluations.loc[len(evaluations)] = [200, "test", 0.9412]
    assert "0.941" in curves.loss_curve(steps, evaluations, 200).layout.title.text


@pytest.mark.parametrize("right, images", [(0, 9), (9, 9), (1, 2), (500, 797), (62, 100), (99_999, 100_000)])
def test_an_accuracy_s_interval_is_wilson_s(right: int, images: int) -> None:
    from scipy.stats import binomtest

    theirs = binomtest(right, images).proportion_ci(method="wilson")
    np.testing.assert_allclose(accuracy.wilson(right / images, images), (theirs.low, theirs.high), atol=1e-12)


@pytest.mark.parametrize(
    "reached, labels, title",
    [
        (0.1, [1000, 100], "Stayed at chance: 0.100 of 10 classes"),
        (0.115, [1000, 100], "Stayed at chance: 0.115 of 10 classes"),
        (0.61, [1000, 600], "Stayed at chance: 0.610 where the largest class has 0.600"),
        (0.03, None, "Stayed at chance: 0.030 of 10 classes"),
        (0.7, [1000, 600], "Reached a test accuracy of 0.700 (95 %: 0.67 to 0.73)"),
        (0.7, None, "Reached a test accuracy of 0.700"),
    ],
)
def test_chance_is_drawn_and_named(reached: float, labels: list[int] | None, title: str) -> None:
    steps, evaluations = training(200)
    evaluations.loc[len(evaluations)] = [200, "test", reached]
    started = {"classes": [*"0123456789"], "settings": {"images": {"test": labels}} if labels else {}}
    ground = accuracy.Ground.of(started, "test")
    figure = curves.loss_curve(steps, evaluations, 200, ground=ground)
    assert figure.layout.title.text == title
    [line] = [trace for trace in figure.data if trace.name == "chance"]
    assert set(line.y) == {ground.chance} and ground.chance == (labels[1] / labels[0] if labels else 0.1)
    assert line.text[1] == f"chance {ground.chance:.2f}"


# Races


@pytest.mark.parametrize("dark", [False, True])
def test_variations_have_colours_and_marks_of_their_own_and_methods_keep_theirs(dark: bool) -> None:
    methods = ["last"] * 8 + ["lora"] + ["lst"] * 2
    colours = races.lane_colours(methods, dark)
    assert len(set(colours)) == len(methods) and colours[8] == method_colour("lora", dark=dark)
    brightness = [sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in colours[:8]]
    assert brightness == sorted(brightness, reverse=True)
    assert len(set(races.lane_symbols(10))) == 10


def test_the_leader_is_thick_and_axes_stay_while_curves_grow() -> None:
    figure = races.race_curves(lanes(), 3, title="t", leader=1)
    width = {trace.name: trace.line.width for trace in figure.data}
    assert width["b"] > width["a"] == width["c"]
    shown = [
        trace.name for trace in sorted((t for t in figure.data if t.showlegend is None), key=lambda t: t.legendrank)
    ]
    assert shown == ["a", "b", "c"]  # one entry each, also for the one that waits, in the order of the race
    early = races.race_curves([lane for lane in lanes()[2:]], 3, title="t")
    for axis in ("xaxis", "xaxis2", "yaxis2"):
        assert early.layout[axis].range == figure.layout[axis].range


# Comparisons and data


def test_comparison_names_the_leanest_method_near_the_top() -> None:
    text = cost.accuracy_vs_cost(RESULTS, "parameters").layout.title.text.replace("<br>", " ")
    assert text == "LAST reaches 99 % of full fine-tuning's accuracy with 0.7 % of its parameters"
    failed = [row | dict(accuracy=0.1, title="full, at too high a rate") for row in RESULTS if row["method"] == "full"]
    text = cost.accuracy_vs_cost([*failed, *RESULTS], "parameters").layout.title.text.replace("<br>", " ")
    assert text.startswith("LAST reaches 99 % of"), "full fine-tuning is the best of its runs"
    figure = cost.accuracy_vs_cost(RESULTS, "memory")
    low, high = (10**end for end in figure.layout.xaxis.range)
    assert figure.layout.xaxis.type == "log" and low < 0.4e9 < 4.9e9 < high
    markers = [trace for trace in figure.data if trace.mode != "lines"]  # the front is a line
    assert {trace.marker.symbol for trace in markers} == {"circle", "diamond"}


def test_runs_are_named_ordered_and_dashed_by_kind() -> None:
    figure = example(compare.runs_overlay)
    assert figure.layout.title.text == "one reaches 0.900, 0.100 ahead of two"
    assert [trace.line.dash for trace in figure.data] == ["dash", "solid"]
    assert len({trace.marker.symbol for trace in figure.data}) == 2


def test_the_best_method_stands_on_top_beside_the_linear_probe() -> None:
    figure = reached.reached({"linear": [40, 42], "lora": [60, 64], "last": []}, chance=10)
    means = [trace for trace in figure.data if trace.mode == "markers+text"]
    assert [(trace.y[0], trace.x[0]) for trace in means] == [("LoRA", 62), ("Linear probe", 41)]
    assert (
        figure.layout.title.text.startswith("LoRA reaches 62 %") and "a linear probe 41 %" in figure.layout.title.text
    )
    assert means[0].marker.color == method_colour("lora") and list(figure.data[0].x) == [60, 64]
    assert "linear" not in reached.reached({"linear": [40]}).layout.title.text
    with pytest.raises(BadData, match="at least one accuracy"):
        reached.reached({"lora": []})


@pytest.mark.parametrize("against", ["memory", "parameters"])
def test_chance_is_in_sight_where_accuracies_are_compared(against):
    figure = cost.accuracy_vs_cost(RESULTS, against, chance=0.1)
    [line] = [trace for trace in figure.data if trace.name == "chance"]
    low, high = figure.layout.yaxis.range
    assert set(line.y) == {0.1} and low < 0.1 < high
    assert not [trace for trace in cost.accuracy_vs_cost(RESULTS, against).data if trace.name == "chance"]


def test_points_far_above_chance_have_the_axis_for_themselves_and_chance_is_named():
    close = [
        dict(method="lora", accuracy=0.97, memory=1e9, interval=(0.96, 0.98)),
        dict(method="last", accuracy=0.98, memory=2e9),
    ]
    figure = cost.accuracy_vs_cost(close, chance=0.1)
    assert not [trace for trace in figure.data if trace.name == "chance"]
    assert figure.layout.yaxis.title.text == "accuracy (chance 0.10)" and figure.layout.yaxis.range[0] > 0.9
    below = cost.accuracy_vs_cost([row | dict(accuracy=0.05, interval=None) for row in close], chance=0.1)
    assert [trace for trace in below.data if trace.name == "chance"] and below.layout.yaxis.range[1] > 0.1


def test_a_bar_is_the_spread_of_seeds_or_the_interval_of_one_run():
    rows = [
        dict(method="lora", accuracy=0.8, memory=1e9, spread=0.02),
        dict(method="serial_lora", accuracy=0.7, memory=2e9, interval=(0.6, 0.75)),
    ]
    [points] = [trace for trace in cost.accuracy_vs_cost(rows).data if trace.mode == "markers"]
    assert list(points.error_y.array) == pytest.approx([0.02, 0.05])
    assert list(points.error_y.arrayminus) == pytest.approx([0.02, 0.1])
    assert [text for _, text in points.customdata] == [" ± 0.020", " (0.600 to 0.750)"]


def test_equally_accurate_methods_share_the_title():
    rows = [dict(method=name, accuracy=0.9, memory=1e9) for name in ("lora", "last", "ssf", "vpt")]
    said = lambda rows: cost.accuracy_vs_cost(rows).layout.title.text.replace("<br>", " ")  # noqa: E731
    assert said(rows[:2]) == "LoRA and LAST are the most accurate: 0.900"
    assert said(rows) == "4 are equally accurate: 0.900"
    assert said([*rows, dict(method="bitfit", accuracy=0.91, memory=1e9)]) == "BitFit is the most accurate: 0.910"


def test_the_leaderboard_s_axis_is_for_its_accuracies_too():
    rows = [dict(title=name, method="lora", test=test, val=test + 0.01) for name, test in (("a", 0.97), ("b", 0.98))]
    figure = standings(rows, chance=0.1)
    assert figure.layout.xaxis.title.text == "accuracy (chance 0.10)" and not figure.layout.shapes
    low, high = figure.layout.xaxis.range
    assert 0.9 < low < 0.97 and 0.99 < high <= 1.02
    one = standings(rows[:1], chance=0.1)
    assert one.layout.xaxis.range[0] < 0.1 and one.layout.shapes[0].x0 == 0.1
