"""Figures from plain numbers: fixed colours, stable axes, square squares, true titles."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly import colors

from peftcore.errors import BadData
from peftcore.events import COMPONENTS
from peftcore.figures import (
    accuracy,
    attention,
    compare,
    cost,
    curves,
    fitted,
    heads,
    kept,
    lettering,
    masks,
    memory,
    memory_curves,
    modules,
    predictions,
    races,
    reached,
    results,
    score_steps,
    squares,
    strip,
    tasks,
    theme,
    words,
)
from peftcore.figures.components import COMPONENT_PATTERNS, component_colour
from peftcore.figures.method_style import kind_dash, method_colour, method_title
from peftcore.registry import METHODS

RNG = np.random.default_rng(0)
MB = 1e6


def training(n: int, total: int = 200) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Made-up steps and evaluations of a run of `total` steps, of which `n` are done."""
    step = np.arange(1, n + 1)
    noise = np.random.default_rng(1).normal(0, 0.05, total)[:n]
    kept = [{"frozen_weights": 340 * MB, "activations": 90 * MB, "optimizer": 5 * MB} for _ in step]
    steps = pd.DataFrame(
        {
            "step": step,
            "loss": 2 * np.exp(-step / 50) + 0.2 + noise,
            "lr": 1e-3 * step / total,
            "grad_norm": 1 + 0.1 * noise,
            "memory": kept,
        }
    )
    done = [at for at in range(20, n + 1, 20)]
    return steps, pd.DataFrame({"step": done, "split": "val", "accuracy": [1 - np.exp(-at / 60) for at in done]})


def one_step(blocks: int = 4, each: int = 5) -> list[dict]:
    """A made-up step: activations grow through forward and shrink through backward."""
    rows = []
    for phase, order in (("forward", range(blocks)), ("backward", reversed(range(blocks)))):
        for block in order:
            for part in range(each):
                depth = block * each + (part if phase == "forward" else each - 1 - part)
                rows.append(
                    {
                        "phase": phase,
                        "where": f"blocks.{block}",
                        "frozen_weights": 300 * MB,
                        "activations": (depth + 1) * 20 * MB,
                        "gradients": 0.0 if phase == "forward" else 3 * MB,
                    }
                )
    rows.append(
        {"phase": "optimizer", "where": "", "frozen_weights": 300 * MB, "gradients": 3 * MB, "optimizer": 6 * MB}
    )
    return [row | {"t": index / (len(rows) - 1)} for index, row in enumerate(rows)]


def kept_rows() -> list[dict]:
    """Rows as from compare_block: one tensor that both keep, one that is dropped, two small ones."""
    why = {
        "norm": "input of a linear layer: the gradient of its weight is dL/dy^T x",
        "pair": "input of a product with a trained matrix: that matrix's gradient needs it; input of a layer norm: its",
        "off": "only a frozen weight's gradient would need it",
        "none": "this method does not compute it",
    }
    rows = [
        ("output of norm1", 60, 60, "norm", "pair"),
        ("output of mlp.act", 40, 0, "norm", "off"),
        ("means of norm1", 0.5, 0.5, "norm", "norm"),
        ("output of attn.q", 0, 0.7, "none", "pair"),
    ]
    return [
        {
            "what": what,
            "shape": [4, 65, 128],
            "size": max(full, lora) * MB,
            "bytes": {"full": int(full * MB), "lora": int(lora * MB)},
            "reason": {"full": why[first], "lora": why[second]},
        }
        for what, full, lora, first, second in rows
    ]


def foretold() -> list[dict]:
    """Runs with their predictions, off by 0, 1 and 4 %."""
    sizes = (("lora", 60, 60), ("last", 15, 15.15), ("last", 25, 24))
    return [
        {"run": i, "title": f"{m} on digits", "method": m, "predicted": int(p * MB), "measured": int(real * MB)}
        for i, (m, real, p) in enumerate(sizes)
    ]


def needs() -> dict[str, dict[str, int]]:
    """Sums as from memory.totals, for ViT-B/16."""
    rows = {
        "full": (1030, 3720, 3700, 0, 0, 343),
        "lora": (3.6, 2546, 2540, 0, 0, 1.2),
        "last": (7.5, 60, 0, 900, 136, 2.5),
    }
    parts = ("gradients", "activations", "inside", "cached_features", "features", "trained")
    return {name: {p: int(v * MB) for p, v in zip(parts, row, strict=True)} for name, row in rows.items()}


def bars() -> list[dict]:
    full = {"method": "full", "trainable_weights": 340 * MB, "gradients": 340 * MB, "activations": 3660 * MB}
    last = {
        "method": "last",
        "frozen_weights": 340 * MB,
        "trainable_weights": 2 * MB,
        "features": 150 * MB,
        "activations": 90 * MB,
    }
    return [
        full | {"source": "measured"},
        last | {"source": "measured"},
        full | {"source": "predicted", "activations": 3700 * MB},
        last | {"source": "predicted"},
    ]


def lanes() -> list[races.Lane]:
    """Two that are running and one that is waiting."""
    steps = pd.DataFrame({"epoch": np.arange(1, 31) / 10, "loss": np.geomspace(2, 0.5, 30)})
    accuracies = pd.DataFrame({"epoch": [1, 2, 3], "accuracy": [0.3, 0.5, 0.6]})
    empty = pd.DataFrame({"epoch": [], "loss": []}), pd.DataFrame({"epoch": [], "accuracy": []})
    return [
        races.Lane("a", "last", steps, accuracies, 30),
        races.Lane("b", "last", steps, accuracies, 30),
        races.Lane("c", "lora", *empty),
    ]


IMAGE = RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)
SCORES = RNG.gamma(2, 0.01, (8, 6))
MAP, OTHER = RNG.gamma(0.5, 1, (8, 8)), RNG.gamma(0.5, 1, (8, 8))
RESULTS = [
    {"method": "full", "accuracy": 0.95, "parameters": 86e6, "memory": 4.9e9, "spread": 0.01},
    {"method": "last", "accuracy": 0.94, "parameters": 617_472, "memory": 0.6e9},
    {"method": "linear", "accuracy": 0.80, "parameters": 7690, "memory": 0.4e9},
]


def loss_with_a_cut(dark: bool) -> go.Figure:
    figure = curves.loss_curve(*training(120), 200, method="heart_lora", dark=dark)
    return masks.mark_steps(figure, {40: "heads cut"}, dark=dark)


# (function, its arguments): every figure is here, or in `EXAMPLES` of its own file as {function's name: arguments}.
EXAMPLES: list[tuple[Callable[..., go.Figure], dict]] = [
    (
        curves.loss_curve,
        dict(zip(("steps", "evaluations"), training(120), strict=True), total_steps=200, method="last"),
    ),
    (curves.loss_curve, dict(steps=pd.DataFrame(), evaluations=pd.DataFrame(), total_steps=200)),
    (curves.learning_rate_curve, dict(steps=training(50)[0], total_steps=200)),
    (curves.gradient_norm, dict(steps=training(50)[0], total_steps=200)),
    (memory_curves.memory_over_steps, dict(steps=training(50)[0], total_steps=200)),
    (memory_curves.memory_over_steps, dict(steps=pd.DataFrame(), total_steps=200)),
    (memory_curves.step_memory, dict(curve=one_step())),
    (memory.memory_bars, dict(rows=bars(), cards=memory.CARDS)),
    (memory.memory_bar, dict(components=bars()[1], ghost=4.3e9)),
    (kept.kept_activations, dict(rows=kept_rows(), block="blocks.6")),
    (kept.training_needs, dict(needs=needs())),
    (predictions.predicted_against_measured, dict(rows=foretold())),
    (heads.head_grid, dict(values=SCORES, score="taylor", projection="v", selected=(2, 3))),
    (heads.layer_profile, dict(values=SCORES, score="taylor")),
    (
        score_steps.scores_over_steps,
        dict(frames=[{"step": 10 * i, "values": SCORES * i} for i in (1, 2, 3)], score="taylor", projection="v"),
    ),
    (
        masks.heads_off,
        dict(rows=[{"label": f"stage {i}, 2 layers", "heads": 4 * i, "off": i, "layers": 2} for i in (1, 2)]),
    ),
    (masks.heads_off, dict(rows=[{"label": f"layer {i}", "heads": 8, "off": [i, 3], "layers": 1} for i in (1, 2)])),
    (
        masks.mask_grid,
        dict(values=SCORES, off=[[0, 2], *[[]] * 7], before=[[1, 2], *[[]] * 7], score="taylor"),
    ),
    (loss_with_a_cut, {}),
    (attention.attention_overlay, dict(image=IMAGE, grid=MAP, query=(1, 2))),
    (attention.patch_picker, dict(image=IMAGE, grid_shape=(8, 8), selected=(1, 2))),
    (attention.attention_difference, dict(a=MAP, b=OTHER, image=IMAGE)),
    (
        compare.runs_overlay,
        dict(
            runs={
                name: pd.DataFrame({"epoch": [1, 2, 3], "val_accuracy": [0.3, 0.6, end]})
                for name, end in (("one", 0.9), ("two", 0.8))
            },
            methods={"one": ("last", "side"), "two": ("lora", None)},
        ),
    ),
    (cost.accuracy_vs_cost, dict(rows=RESULTS, cost="parameters")),
    (cost.accuracy_vs_cost, dict(rows=RESULTS, cost="memory")),
    (races.race_curves, dict(lanes=lanes(), epochs=3, title="rank 8 leads", leader=1)),
    (reached.reached, dict(accuracies={"lora": [60, 64], "linear": [40, 42]}, chance=10)),
    (strip.image_strip, dict(images=[IMAGE] * 3, numbers=[0, 1, 2], names=list("abc"))),
    (tasks.class_balance, dict(counts={"train": {"a": 8, "b": 4}, "test": {"a": 2, "b": 2}})),
    (tasks.projection, dict(points=RNG.normal(size=(30, 2)), labels=np.arange(30) % 3, classes=list("abc"))),
]
MODULES = [
    importlib.import_module(f"peftcore.figures.{file.stem}")
    for file in sorted(Path(theme.__file__).parent.glob("[!_]*.py"))
]
EXAMPLES += [
    (getattr(module, name), given) for module in MODULES for name, given in getattr(module, "EXAMPLES", {}).items()
]


def example(draw: Callable[..., go.Figure]) -> go.Figure:
    return next(draw(**given) for function, given in EXAMPLES if function is draw)


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
    ("share", "text"), [(0.0642, "6 %"), (0.0072, "0.7 %"), (1.234, "123 %"), (0.0149, "1 %"), (0, "0 %")]
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


def test_memory_without_a_measurement_is_left_out() -> None:
    steps = training(30)[0]
    steps["memory"] = [value if index % 2 else None for index, value in enumerate(steps["memory"])]
    figure = memory_curves.memory_over_steps(steps, 200)
    assert len(figure.data[0].x) == 15 and figure.layout.title.text.startswith("Peak 435 MB, 78 % of it frozen weights")


# Memory


def stacked(figure: go.Figure) -> np.ndarray:
    return np.sum([trace.y for trace in figure.data if trace.stackgroup], axis=0)


def test_a_steps_areas_add_up_and_the_title_names_the_peak() -> None:
    figure = memory_curves.step_memory(one_step())
    total = next(trace for trace in figure.data if trace.name == "total")
    np.testing.assert_allclose(stacked(figure), total.y)
    assert titled(figure) == "Peak in backward at layer 4: 57 % of it kept activations"
    assert [note.text for note in figure.layout.annotations][:3] == ["forward", "backward", "optimizer"]
    assert list(total.customdata[0]) == ["forward", "layer 1"] and total.customdata[-1][1] == "outside the layers"


def test_thinning_a_long_step_keeps_its_peak_and_phases() -> None:
    long = one_step(blocks=12, each=400)
    figure = memory_curves.step_memory(long)
    assert len(figure.data[0].x) < 1.1 * memory_curves.MOST_MOMENTS
    assert stacked(figure).max() * 1e9 == pytest.approx(max(memory.total_bytes(row) for row in long))


def titled(figure: go.Figure) -> str:
    """The title on one line."""
    return figure.layout.title.text.replace("<br>", " ")


def test_bars_are_stacked_end_to_end_and_compared_beside_the_weights() -> None:
    rows = bars()
    figure = memory.memory_bars(rows, cards=(8,))
    ends: dict[float, float] = {}
    for trace in figure.data:
        for y, base, length in zip(trace.y, trace.base, trace.x, strict=True):
            assert base == pytest.approx(ends.get(y, 0.0)) or length == 0
            ends[y] = max(ends.get(y, 0.0), base + length)
    assert sorted(ends.values()) == pytest.approx(sorted(memory.total_bytes(row) / 1e9 for row in rows))
    assert titled(figure).startswith("LAST keeps 6 % of what full fine-tuning keeps above its weights")
    assert any("(+0.9 %)" in note.text for note in figure.layout.annotations)  # full: 4380 predicted, 4340 measured


def test_bars_without_a_baseline_name_the_largest() -> None:
    title = titled(memory.memory_bars(bars()[1:2]))
    assert title.startswith("LAST peaks at 582 MB, 58 % of it frozen weights")


def test_bars_of_one_method_are_compared_with_each_other() -> None:
    row = {"method": "lora", "source": "predicted", "frozen_weights": 100e6}
    ranks = [row | {"title": f"LoRA, rank {rank}", "activations": rank * 1e6} for rank in (1, 2)]
    assert titled(memory.memory_bars(ranks)).startswith("LoRA, rank 2 takes 1 % more than LoRA, rank 1")


def test_kept_tensors_stand_side_by_side_with_their_reasons() -> None:
    figure = example(kept.kept_activations)
    assert titled(figure) == "LoRA keeps 61 % of what full fine-tuning keeps of layer 7"
    said = [note.text for note in figure.layout.annotations]
    assert said[::3] == ["output of norm1", "output of mlp.act", "2 small ones"] and len(said) == 3 * (1 + 2)
    for bar, total in zip(figure.data, (100.5, 61.2), strict=True):
        assert sum(bar.x) == pytest.approx(total)
    assert "60 MB: that matrix's gradient needs it" in said  # without its subject, which the row names
    assert "not kept: only a frozen weight's gradient would need it" in said


def test_where_neither_small_nor_large_is_kept_the_row_stays() -> None:
    rows = [
        row
        | {
            "bytes": {"lora": row["bytes"]["lora"], "last": 0},
            "reason": {"lora": row["reason"]["lora"], "last": "no gradient passes through the backbone"},
        }
        for row in kept_rows()[:2]
    ]
    figure = kept.kept_activations(rows, "blocks.6")
    assert [note.text for note in figure.layout.annotations][::3] == ["output of norm1", "output of mlp.act"]
    assert titled(figure) == "LAST keeps nothing of layer 7, LoRA 60 MB"


def test_predictions_of_all_runs_tell_median_and_worst() -> None:
    figure = example(predictions.predicted_against_measured)
    assert titled(figure) == "The predictions of 3 runs were off by 1.0 % (median), at most 4.0 %"
    assert [trace.name for trace in figure.data[1:]] == ["LoRA", "LAST"] and list(figure.data[2].x) == [15, 25]
    one = predictions.predicted_against_measured(foretold()[:1]).layout.title.text
    assert one == "The prediction of 1 run was off by 0.0 %"


def test_the_conclusion_explains_why_memory_did_not_drop() -> None:
    by_method = needs()
    assert kept.conclusion({"full": by_method["full"], "lora": by_method["lora"]}) == (
        "LoRA keeps 0.3 % of the gradients and optimizer state of full fine-tuning, but still 68 % of the activations"
    )
    assert "and 2 % of the activations" in kept.conclusion({"lora": by_method["lora"], "last": by_method["last"]})
    assert kept.conclusion({"last": by_method["last"]}) == "LAST keeps 60 MB of activations for backward"


# Heads


def test_cells_are_square_and_filled_to_the_pixel() -> None:
    for shape, size in (((8, 8), (640, 560)), ((12, 12), (500, 700)), ((24, 32), (640, 560))):
        figure = heads.head_grid(np.ones(shape), score="energy", projection="q", width=size[0], height=size[1])
        layout = figure.layout
        across = (layout.width - layout.margin.l - layout.margin.r) / shape[1]
        up = (layout.height - layout.margin.t - layout.margin.b) / shape[0]
        assert across == up == figure.data[0].marker.size + squares.GAP
        assert layout.autosize is False and layout.xaxis.automargin is False and layout.width <= size[0]


def test_a_click_on_a_head_identifies_it() -> None:
    values = SCORES.copy()
    values[0, 4:] = np.nan  # fewer heads in an early stage
    figure = heads.head_grid(values, [f"blocks.{i}" for i in range(8)], score="taylor", projection="v")
    grid = figure.data[0]
    assert len(grid.customdata) == 46
    for x, y, data, colour in zip(grid.x, grid.y, grid.customdata, grid.marker.color, strict=True):
        assert (data[0], data[1]) == (y, x) and values[y, x] == colour
    assert figure.layout.dragmode is False and figure.layout.xaxis.fixedrange
    best = grid.customdata[int(np.argmax(grid.marker.color))]
    assert best[3] == 1 and best[4] == 46
    assert f"Head {best[1] + 1} of layer {best[0] + 1} moved most in v" in figure.layout.title.text
    assert list(figure.layout.yaxis.ticktext) == [str(i) for i in range(1, 9)]
    assert figure.layout.yaxis.range == (-0.5, 7.5)  # layer 1 at the bottom


def test_masked_heads_are_crossed_out_and_the_chosen_one_is_framed() -> None:
    mask = np.sort(SCORES.ravel())[9] < SCORES
    figure = heads.head_grid(SCORES, score="taylor", projection="v", mask=mask, selected=(2, 3))
    crosses = figure.data[-1]
    assert sorted(zip(crosses.y, crosses.x, strict=True)) == sorted(map(tuple, np.argwhere(~mask)))
    assert crosses.hoverinfo == "skip"
    box = figure.layout.shapes[-1]
    assert (box.x0, box.x1, box.y0, box.y1) == (2.5, 3.5, 1.5, 2.5)
    assert f"rank {int(heads.rank_heads(SCORES)[2, 3])} of 48" in figure.layout.title.text


def test_ranks() -> None:
    np.testing.assert_array_equal(heads.rank_heads(np.array([[3.0, np.nan], [5.0, 3.0]])), [[2, np.nan], [1, 3]])


def test_signed_scores_centre_on_zero_and_show_their_sign() -> None:
    values = np.array([[2.0, -1.0], [0.1, 0.5]])
    figure = heads.head_grid(values, score="taylor_signed", projection="q")
    assert (figure.data[0].marker.cmin, figure.data[0].marker.cmax) == (-2, 2)
    assert list(figure.data[1].text) == ["+", "\N{MINUS SIGN}", "", ""]


def test_scores_over_steps_keep_one_scale() -> None:
    figure = score_steps.scores_over_steps(
        [{"step": 10 * i, "values": SCORES * i} for i in range(1, 5)], score="taylor", projection="v"
    )
    scales = {(frame.data[0].marker.cmin, frame.data[0].marker.cmax) for frame in figure.frames}
    assert scales == {(0.0, float((SCORES * 4).max()))}
    assert [frame.name for frame in figure.frames] == [step.label for step in figure.layout.sliders[0].steps]


def contrast(ink: str, colour: str) -> float:
    """WCAG's, of two colours as #RRGGBB or rgb()."""
    light = []
    for one in (ink, colour):
        rgb = colors.hex_to_rgb(one) if one.startswith("#") else colors.unlabel_rgb(one)
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in rgb)]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_text_is_legible_on_every_colour_of_a_scale() -> None:
    shares = np.linspace(0, 1, 101)
    for scale in (theme.SEQUENTIAL, theme.DIVERGING):
        stops = colors.get_colorscale(scale) if isinstance(scale, str) else [list(stop) for stop in scale]
        shown = colors.sample_colorscale(stops, shares.tolist())
        inks = lettering.ink_on(shares, scale)
        assert min(map(contrast, inks, shown)) >= 4.5 and len(set(inks)) == 2


def test_lines_of_a_scale_stand_out_from_the_page() -> None:
    from peftcore.figures import xray

    spectra = [np.array([3.0, 1.0, 0.3])] * 12
    for dark, page in ((False, "#FFFFFF"), (True, "#0E1117")):
        drawn = xray.singular_values(spectra, range(12), title="Singular values", dark=dark).data
        assert min(contrast(line.line.color, page) for line in drawn) >= 2.2


def test_a_confusion_says_counts_that_can_be_read_and_where_a_click_was() -> None:
    counts = np.array([[30, 20, 0], [0, 40, 10], [5, 0, 45]])
    figure = results.confusion(counts, ["cat", "dog", "owl"])
    cells, text = figure.data
    assert list(cells.customdata[0][1][:3]) == [0, 1, 20] and "taken for <b>dog" in cells.text[0][1]
    assert list(text.text) == ["30", "20", "40", "10", "5", "45"] and text.hoverinfo == "skip"
    assert dict(zip(text.text, text.textfont.color, strict=True))["5"] == "#FFFFFF"


def test_changes_are_read_in_their_unit() -> None:
    scale = squares.Scale.measured("nats")
    values = np.array([[0.02, -0.001], [0.0, 0.5]])
    figure = heads.head_grid(values, score="change", projection="q", scale=scale, selected=(0, 1))
    said = [data[2] for data in figure.data[0].customdata]
    assert said == ["+0.02 nats", "\N{MINUS SIGN}0.001 nats", "+0 nats", "+0.5 nats"]
    bar = figure.data[0].marker.colorbar
    assert bar.title.text == "change<br>q<br>nats" and "0.25" in bar.ticktext
    assert f"rank 4 of 4, change {said[1]}" in figure.layout.title.text


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


# Attention


def test_patches_fill_the_image_and_say_which_was_clicked() -> None:
    tall = np.zeros((96, 64, 3), np.uint8)
    figure = attention.patch_picker(tall, (6, 4), (5, 1), width=328)
    layout, patches = figure.layout, figure.data[-1]
    across = (layout.width - layout.margin.l - layout.margin.r) / 4
    up = (layout.height - layout.margin.t - layout.margin.b) / 6
    assert across == up and (patches.dx, patches.dy) == (1 / 4, 1 / 6)
    assert (patches.x0, patches.y0) == (1 / 8, 1 / 12)  # of the middle of the first
    assert [list(data) for row in patches.customdata for data in row] == [[r, c] for r in range(6) for c in range(4)]
    assert isinstance(
        patches.to_plotly_json()["customdata"], list | tuple
    )  # an encoded array would reach the page undecoded
    assert layout.yaxis.range == (1, 0)
    assert (layout.shapes[-1].x0, layout.shapes[-1].y0) == (0.25, 5 / 6)


def test_maps_share_a_scale_on_request() -> None:
    heat = attention.attention_overlay(IMAGE, MAP, zmax=3.0).data[0]
    assert (heat.zmin, heat.zmax) == (0, 3) and np.array_equal(heat.z, MAP)


def test_difference_is_centred_antisymmetric_and_measured() -> None:
    one, two = attention.attention_difference(MAP, OTHER).data[0], attention.attention_difference(OTHER, MAP).data[0]
    assert one.zmin == -one.zmax
    np.testing.assert_allclose(one.z, -np.asarray(two.z))
    assert np.sum(one.z) == pytest.approx(0, abs=1e-12)
    a, b = np.zeros((2, 2)), np.zeros((2, 2))
    a[0, 0], b[1, 1] = 2, 5
    assert attention.attention_difference(a, b).layout.title.text.startswith("100 % of the attention")
    assert attention.attention_difference(a, 3 * a).layout.title.text.startswith("0 %")


# Comparisons and data


def test_comparison_names_the_leanest_method_near_the_top() -> None:
    text = cost.accuracy_vs_cost(RESULTS, "parameters").layout.title.text.replace("<br>", " ")
    assert text == "LAST reaches 99 % of full fine-tuning's accuracy with 0.7 % of its parameters"
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


def test_class_balance_tells_the_worst() -> None:
    assert "2 times" in example(tasks.class_balance).layout.title.text
    assert tasks.class_balance({"0": 5, "1": 5}).layout.title.text == "Balanced: 5 training images in each of 2 classes"
    assert (
        tasks.class_balance({"0": 5, "1": 6}).layout.title.text
        == "Balanced: 5 or 6 training images in each of 2 classes"
    )
    assert tasks.class_balance({"0": 5, "1": 0}).layout.title.text.startswith("1 of 2 classes have no")


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


@pytest.mark.parametrize("against", ["memory", "parameters"])
def test_chance_is_in_sight_where_accuracies_are_compared(against):
    figure = cost.accuracy_vs_cost(RESULTS, against, chance=0.1)
    [line] = [trace for trace in figure.data if trace.name == "chance"]
    low, high = figure.layout.yaxis.range
    assert set(line.y) == {0.1} and low < 0.1 < high
    assert not [trace for trace in cost.accuracy_vs_cost(RESULTS, against).data if trace.name == "chance"]


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


def test_side_modules_stand_in_bands_where_the_window_is_narrow() -> None:
    maps = list(RNG.dirichlet(np.ones(16), size=8).reshape(8, 4, 4))
    figure = modules.beside_layers(maps, maps, list(range(8)), width=340)
    inside = figure.layout.width - 82, figure.layout.height - figure.layout.margin.t - 26
    assert figure.layout.width <= 340
    for trace in figure.data:
        x, y = (getattr(figure.layout, f"{axis[0]}axis{axis[1:]}").domain for axis in (trace.xaxis, trace.yaxis))
        wide, tall = (x[1] - x[0]) * inside[0], (y[1] - y[0]) * inside[1]
        assert wide == pytest.approx(tall) and wide >= modules.LEAST


def test_type_grows_on_a_projector_and_squares_keep_their_size():
    grid = heads.head_grid(np.arange(1.0, 65).reshape(8, 8), score="taylor", projection="q", width=640, height=560)
    large = fitted.larger(grid, 1.5)
    sizes = [figure.layout.template.layout.title.font.size for figure in (grid, large)]
    assert sizes[1] == 1.5 * sizes[0] and "font-size:18.75px" in large.layout.title.text
    assert large.layout.height - large.layout.margin.t == grid.layout.height - grid.layout.margin.t
    assert large.data[0].marker.size == grid.data[0].marker.size
