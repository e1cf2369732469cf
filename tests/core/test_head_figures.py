"""Figures of heads and of attention: square cells, clicks that identify, scales that are legible and shared."""

from __future__ import annotations

import numpy as np
import pytest
from figure_examples import IMAGE, MAP, OTHER, RNG, SCORES
from plotly import colors

from peftcore.figures import attention, confusion, cuts, heads, lettering, modules, score_steps, squares, theme

# Heads


def test_every_run_with_heads_off_is_a_point_and_the_title_tells_both_means() -> None:
    own, lots = {"0": 71.0, "1": 69.0}, [([0, 2], 0, 66.0), ([1, 3], 1, 65.0), ([2, 3], 0, 67.0)]
    figure = cuts.cuts([dict(off=2, own=own, random=lots)], {"0": 73.0, "1": 72.0}, heads=4)
    points = [trace for trace in figure.data if trace.mode == "markers"]
    assert sorted(y for trace in points for y in trace.y) == [65, 66, 67, 69, 71, 72, 73]
    for line, end in zip((trace for trace in figure.data if trace.mode == "lines"), (66.0, 70.0), strict=True):
        assert list(line.y) == [72.5, end]  # both begin where no head is off
    assert "2 of 4 heads" in figure.layout.title.text and "70.0 %" in figure.layout.title.text
    assert "66.0 %" in figure.layout.title.text
    assert len(figure.layout.meta["numbers"]["seed"]) == 7
    assert [one[1] for one in points[0].customdata] == [": 1, 3", ": 2, 4", ": 3, 4"]  # heads count from 1


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
    figure = confusion.confusion(counts, ["cat", "dog", "owl"])
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


def test_side_modules_stand_in_bands_where_the_window_is_narrow() -> None:
    maps = list(RNG.dirichlet(np.ones(16), size=8).reshape(8, 4, 4))
    figure = modules.beside_layers(maps, maps, list(range(8)), width=340)
    inside = figure.layout.width - 82, figure.layout.height - figure.layout.margin.t - 26
    assert figure.layout.width <= 340
    for trace in figure.data:
        x, y = (getattr(figure.layout, f"{axis[0]}axis{axis[1:]}").domain for axis in (trace.xaxis, trace.yaxis))
        wide, tall = (x[1] - x[0]) * inside[0], (y[1] - y[0]) * inside[1]
        assert wide == pytest.approx(tall) and wide >= modules.LEAST


def test_the_finding_knows_a_sum_over_layers_from_small_scores():
    small = np.array([[1e-9, 5e-9], [2e-9, 9e-9], [3e-9, 1e-9]])
    assert heads.finding(small, "q").startswith("Head 2 of layer 2 moved most in q")
    summed = np.repeat([[1.0, 3.0]], 3, axis=0)
    assert heads.finding(summed, "q").startswith("Head 2 moved most in q, all layers together")
    stages = np.array([[1.0, 2.0], [1.0, 4.0], [1.0, 4.0]])
    assert heads.finding(stages, "q").startswith("Head 2 moved most in q, layers 2 to 3 together")
