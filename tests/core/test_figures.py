"""Figures from plain numbers: fixed colours, stable axes, square squares, true titles."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import get_type_hints

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from figure_examples import EXAMPLES, IMAGE, MAP, MODULES, RNG, example

from peftcore.errors import BadData
from peftcore.events import COMPONENTS
from peftcore.figures import (
    attention,
    compare,
    cost,
    curves,
    fitted,
    head_maps,
    heads,
    kept,
    memory,
    memory_curves,
    predictions,
    score_steps,
    tasks,
    theme,
    words,
)
from peftcore.figures.attribution import layer_lens
from peftcore.figures.compare import disagreement
from peftcore.figures.components import COMPONENT_PATTERNS, component_colour
from peftcore.figures.method_style import kind_dash, method_colour, method_title
from peftcore.registry import METHODS


def makes_a_figure(function: object, module: ModuleType) -> bool:
    """Public functions of this module that make a figure from data, rather than change a given one."""
    if not inspect.isfunction(function) or function.__module__ != module.__name__ or function.__name__[0] == "_":
        return False
    hints = get_type_hints(function)
    return hints.get("return") is go.Figure and "figure" not in hints


def test_every_figure_has_an_example() -> None:
    drawn = {function for function, _ in EXAMPLES}
    for module in MODULES:
        for name, function in vars(module).items():
            if makes_a_figure(function, module):
                assert function in drawn, f"{module.__name__} needs EXAMPLES = {{{name!r}: its arguments}}"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("draw, given", EXAMPLES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_figure_has_title_place_and_template(draw: Callable[..., go.Figure], given: dict, dark: bool) -> None:
    figure = draw(**given, dark=dark)
    assert isinstance(figure, go.Figure)
    title = figure.layout.title.text or ""
    assert figure.layout.uirevision and figure.layout.height
    assert title.strip() or figure.layout.margin.t == 0  # a strip to choose from says nothing
    assert figure.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.template.layout.font.color == theme.ink(dark)
    assert "nan" not in title.lower()
    if "heatmap" in {trace.type for trace in figure.data}:  # its x and y are no columns of numbers
        assert len({len(column) for column in figure.layout.meta["numbers"].values()}) <= 1
    json.loads(figure.to_json())


@pytest.mark.parametrize("y, is_point", [([2.0], True), ([None, 2.0, None], True), ([1, 2], False), ([None], False)])
def test_a_line_of_one_point_is_seen(y: list, is_point: bool) -> None:
    figure = go.Figure(go.Scatter(x=list(range(len(y))), y=y, mode="lines", line=dict(color="#123456")))
    [line] = theme.finish(figure, "One", name="one").data
    assert (line.mode == "lines+markers" and line.marker.color == "#123456") == is_point


def test_figures_import_neither_torch_nor_streamlit() -> None:
    code = (
        "import sys, peftcore.figures.attention, peftcore.figures.compare, peftcore.figures.cost, "
        "peftcore.figures.curves, peftcore.figures.heads, peftcore.figures.memory, peftcore.figures.tasks; "
        "print([name for name in ('torch', 'streamlit', 'timm') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


# Numbers and words


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (617_472, "617 kB"),
        (999_999, "1 MB"),
        (1.33e9, "1.33 GB"),
        (4541e6, "4.54 GB"),
        (147_850, "148 kB"),
        (2.5e12, "2.5 TB"),
    ],
)
def test_bytes_are_powers_of_ten(number: float, text: str) -> None:
    assert words.si_bytes(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (617_472, "617 k"), (85_798_656, "85.8 M"), (1_167e6, "1.17 G")]
)
def test_counts(number: float, text: str) -> None:
    assert words.human_count(number) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0642, "6 %"), (0.0072, "0.7 %"), (1.234, "123 %"), (0.0149, "1 %"), (0, "0 %"), (2e-7, "under 0.001 %")],
)
def test_percent(share: float, text: str) -> None:
    assert words.percent(share) == text


@pytest.mark.parametrize("number", [1e-4, 0.7, 1.0, 1.01, 9.9, 63, 1234.5])
def test_an_axis_ends_at_a_round_number_not_far_above(number: float) -> None:
    assert number <= words.ceiling(number) <= 1.5 * number


def test_colours_are_those_of_the_look() -> None:
    assert {
        name: method_colour(name) for name in ("full", "linear", "lora", "bi_lora", "heart_lora", "serial_lora", "last")
    } == {
        "full": "#444444",
        "linear": "#999999",
        "lora": "#0072B2",
        "bi_lora": "#56B4E9",
        "heart_lora": "#D55E00",
        "serial_lora": "#009E73",
        "last": "#CC79A7",
    }
    assert [component_colour(name) for name in COMPONENTS] == [
        "#8DA0B3",
        "#0072B2",
        "#56B4E9",
        "#CC79A7",
        "#009E73",
        "#7CCBB0",
        "#E69F00",
        "#BBBBBB",
    ]
    own = [colour for name in METHODS.names() if (colour := METHODS.facts(name).colour)]
    assert len(set(own)) == len(own)
    assert len(set(COMPONENT_PATTERNS.values())) >= len(COMPONENTS) - 1  # told apart in grey


def test_a_new_method_has_a_steady_colour_of_its_kind() -> None:
    assert method_colour("my_side", "side") == method_colour("my_side", "side")
    assert method_colour("my_side", "side") != method_colour("my_side", "in-backbone")
    assert method_title("my_side") == "my side"
    assert (kind_dash("side"), kind_dash("in-backbone")) == ("dash", "solid")


def test_class_balance_tells_the_worst() -> None:
    assert "2.0 times" in example(tasks.class_balance).layout.title.text
    assert "150 times" in tasks.class_balance({"0": 1, "1": 150}).layout.title.text
    assert tasks.class_balance({"0": 1000, "1": 1002}).layout.title.text.startswith("Nearly balanced: 1000 to 1002")
    assert tasks.class_balance({"0": 5, "1": 5}).layout.title.text == "Balanced: 5 training images in each of 2 classes"
    assert (
        tasks.class_balance({"0": 5, "1": 6}).layout.title.text
        == "Balanced: 5 or 6 training images in each of 2 classes"
    )
    assert tasks.class_balance({"0": 5, "1": 0}).layout.title.text.startswith("1 of 2 classes has no")


def test_nearest_agreement() -> None:
    points = np.array([[0, 0], [0, 1], [9, 9], [9, 8]], float)
    assert tasks.nearest_agreement(points, np.array([0, 0, 1, 1])) == 1.0
    assert tasks.nearest_agreement(points, np.array([0, 1, 0, 1])) == 0.0


def test_every_class_of_a_projection_has_a_mark_of_its_own() -> None:
    points, labels = RNG.normal(size=(90, 2)), np.arange(90) % 30
    figure = tasks.projection(points, labels, [f"c{n}" for n in range(30)])
    assert len({(trace.marker.color, trace.marker.symbol) for trace in figure.data}) == 30
    assert not figure.layout.showlegend, "thirty names would leave no room for the points"
    for trace in figure.data:
        np.testing.assert_array_equal(points[list(trace.customdata)], np.column_stack([trace.x, trace.y]))
    titled = tasks.projection(points, labels, ["c"] * 30, title="What it says", axes=("first", "second"))
    assert titled.layout.title.text.startswith("What it says<br>") and "lie nearest" in titled.layout.title.text
    assert titled.layout.xaxis.title.text == "first" and titled.layout.yaxis.title.text == "second"


def test_names_from_outside_are_not_markup() -> None:
    figure = tasks.projection(np.zeros((2, 2)), np.array([0, 1]), ["<b>x</b>", "y"])
    assert figure.data[0].name == "&lt;b&gt;x&lt;/b&gt;"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: heads.head_grid(np.ones(3), score="s", projection="v"),
        lambda: heads.head_grid(np.full((2, 2), np.nan), score="s", projection="v"),
        lambda: score_steps.scores_over_steps([], score="s", projection="v"),
        lambda: memory_curves.step_memory([{"t": 0}]),
        lambda: memory.memory_bars([]),
        lambda: kept.kept_activations([], "blocks.6"),
        lambda: kept.training_needs({}),
        lambda: predictions.predicted_against_measured([]),
        lambda: curves.gradient_norm(pd.DataFrame({"step": [1]}), 10),
        lambda: attention.attention_overlay(IMAGE.astype(float), MAP),
        lambda: attention.attention_overlay(IMAGE, np.full((2, 2), np.nan)),
        lambda: attention.attention_difference(MAP, MAP[:4]),
        lambda: cost.accuracy_vs_cost([]),
        lambda: compare.runs_overlay({"a": pd.DataFrame({"epoch": [1]})}),
        lambda: tasks.class_balance({}),
        lambda: tasks.projection(np.zeros((3, 3)), np.zeros(3), ["a"]),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(draw) -> None:
    with pytest.raises(BadData, match=r"^[A-Z].{25,}\.$"):
        draw()


def test_layers_are_counted_from_1_in_every_figure():
    assert words.places(["", "patch_embed", "blocks.3.mlp.fc1", "blocks.0", "side.1.attn"]) == {
        "": "",
        "patch_embed": "patch_embed",
        "blocks.3.mlp.fc1": "layer 4, mlp.fc1",
        "blocks.0": "layer 1",
        "side.1.attn": "side module 2, attn",
    }
    swin = [f"layers.{stage}.blocks.{block}" for stage, depth in enumerate((2, 2, 10)) for block in range(depth)]
    assert list(words.places(reversed(swin)).values()) == [f"layer {number}" for number in range(14, 0, -1)]


def test_a_title_is_broken_anew_for_a_phone_and_squares_stay_square():
    grid = heads.head_grid(np.arange(1.0, 65).reshape(8, 8), score="taylor", projection="q", width=640, height=560)
    before, inner = grid.layout.title.text, grid.layout.height - grid.layout.margin.t
    narrow = fitted.narrowed(grid, 240)
    assert narrow.layout.title.text.count("<br>") > before.count("<br>")
    assert narrow.layout.height - narrow.layout.margin.t == inner


def test_a_note_is_wrapped_on_a_phone_too() -> None:
    noted = theme.finish(go.Figure(), "Short", name="n", note="a note that is much too long for the window of a phone")
    narrow = fitted.narrowed(go.Figure(noted), 240)
    title, note = narrow.layout.title.text.split("<br><span")
    assert title == "Short" and note.count("<br>") == 1 and note.endswith("</span>")
    assert narrow.layout.margin.t == noted.layout.margin.t + theme.NOTE_HEIGHT
    assert fitted.narrowed(go.Figure(noted), 600) == noted


def test_type_grows_on_a_projector_and_squares_keep_their_size():
    grid = heads.head_grid(np.arange(1.0, 65).reshape(8, 8), score="taylor", projection="q", width=640, height=560)
    large = fitted.larger(grid, 1.5)
    sizes = [figure.layout.template.layout.title.font.size for figure in (grid, large)]
    assert sizes[1] == 1.5 * sizes[0] and "font-size:18.75px" in large.layout.title.text
    assert large.layout.height - large.layout.margin.t == grid.layout.height - grid.layout.margin.t
    assert large.data[0].marker.size == grid.data[0].marker.size


def test_a_title_that_grows_is_broken_where_it_would_run_out_of_a_figure_of_fixed_width():
    grid = heads.head_grid(np.arange(1.0, 73).reshape(12, 6), score="taylor", projection="q", width=640, height=560)
    before = grid.layout.title.text
    for factor in (1.2, 1.5):
        lines = fitted.larger(grid, factor).layout.title.text.split("<br><span")[0].split("<br>")
        assert max(map(len, lines)) * theme.LETTER * factor <= grid.layout.width
    assert grid.layout.title.text == before


def test_a_name_stands_on_no_other_point_or_is_in_the_legend():
    from peftcore.figures.choice import within_budget

    def row(method: str, accuracy: float, size: float) -> dict:
        return {"method": method, "accuracy": accuracy, "bytes": size, "seconds": 1.0, "weights": 1}

    near = [row(name, 70 + 0.1 * n, 2e8) for n, name in enumerate(("lora", "bi_lora", "serial_lora", "bitfit", "ssf"))]
    traces = within_budget([row("linear", 30, 1e7), *near], {}).data
    named = {trace.name for trace in traces if "text" in trace.mode}
    assert named | {trace.name for trace in traces if trace.showlegend} == {trace.name for trace in traces}
    assert {"SSF", "Linear probe"} <= named and len(named) < len(traces), "the best and what is alone have their names"


def test_no_name_runs_over_the_axis():
    """The smallest point stands near the axis; its name stands above it only where it has the room."""
    from peftcore.figures.choice import within_budget

    rows = [{"method": name, "accuracy": of, "bytes": size, "seconds": 1.0, "weights": 1}
            for name, of, size in (("linear", 30, 3e8), ("lora", 70, 3e9))]  # fmt: skip
    least = next(trace for trace in within_budget(rows, {}).data if trace.name == "Linear probe")
    assert least.textposition == "middle right"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [("aaaa", "It would say a from the start"), ("baaa", "It would say a after layer 1 already, and from there on"),
     ("bbba", "Only the last layer makes it a"),
     ("abaa", "It says a early on, then another class, and a again after layer 2"),
     ("aaba", "It says a early on, then another class, and a again after the last layer")],
)  # fmt: skip
def test_a_lens_that_changes_its_mind_says_so(said, sentence):
    figure = layer_lens(np.array([[0.9, 0.1] if one == "a" else [0.1, 0.9] for one in said]), "ab")
    assert figure.layout.title.text.replace("<br>", " ").startswith(sentence)


@pytest.mark.parametrize(("most", "text"), [(0.2, "4"), (0.03, "0.4")])
def test_small_shares_are_told_to_a_tenth(most, text):
    shares = np.array([[0, 0.004 if most < 0.1 else 0.04, most], [0, 0, most], [0, 0, 0]])
    figure = disagreement(shares + shares.T, ["1", "2", "3"], images=1000)
    assert text in str(figure.to_dict()) and figure.data[0].colorbar.tickformat == (".0%" if most > 0.1 else ".1%")


def test_maps_of_all_heads_stand_where_their_heads_do() -> None:
    """Layers from the bottom and rows of patches from the top; each map is as bright as its own brightest patch."""
    maps = np.full((2, 3, 4, 5), 1e-3)
    maps[1, 2, 0, 4] = 0.5  # of the last head of the upper layer, the upper right patch
    maps[0, 0, 3, 0] = 0.1  # of the first head of the lower layer, the lower left one
    figure = head_maps.head_maps(maps)
    picture = figure.data[0]
    assert picture.z.shape == (8, 15) and picture.z[7, 14] == 255 and picture.z[0, 0] == 255
    assert (picture.z[4:, 10:] < 255).sum() == 19
    assert (picture.x0 + 14 * picture.dx, picture.y0 + 7 * picture.dy) == pytest.approx((2.4, 1.375))
    even, one = head_maps.patches(np.ones((1, 1, 4, 5))), head_maps.patches(maps)
    assert even[0, 0] == pytest.approx(20) and one[1, 2] == one.min() < 2
    assert "Head 3 of layer 2 looks at the fewest patches" in figure.layout.title.text.replace("<br>", " ")
    for wrong in (np.ones((2, 3, 4)), np.zeros((1, 1, 2, 2))):
        with pytest.raises(BadData, match="need shape"):
            head_maps.head_maps(wrong)
