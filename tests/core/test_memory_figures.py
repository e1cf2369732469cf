"""Figures of memory: what they stack adds up, and their titles follow from their numbers."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
from figure_examples import bars, example, foretold, kept_rows, needs, one_step, titled, training

from peftcore.figures import kept, memory, memory_curves, predictions


def test_memory_without_a_measurement_is_left_out() -> None:
    steps = training(30)[0]
    steps["memory"] = [value if index % 2 else None for index, value in enumerate(steps["memory"])]
    figure = memory_curves.memory_over_steps(steps, 200)
    assert len(figure.data[0].x) == 15 and figure.layout.title.text.startswith("Peak 435 MB, 78 % of it frozen weights")


def test_the_memory_of_a_single_traced_step_is_seen() -> None:
    steps = training(30)[0]
    steps["memory"] = [value if index == 1 else None for index, value in enumerate(steps["memory"])]
    bars = memory_curves.memory_over_steps(steps, 200).data
    assert bars and {trace.type for trace in bars} == {"bar"} and {list(trace.x)[0] for trace in bars} == {2}
    assert sum(trace.y[0] for trace in bars) > 0 and all(len(trace.y) == 1 and trace.width == 5 for trace in bars)


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
