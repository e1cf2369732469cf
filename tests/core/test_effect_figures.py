"""What figures of heads switched off and of attributions say: their findings follow from their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from peftcore.errors import BadData
from peftcore.figures import attribution, effects, xray

GREY = np.full((16, 16, 3), 128, np.uint8)


def test_a_rank_correlation_leaves_missing_heads_out_and_says_what_it_means():
    scores, changes = np.array([1.0, 2, 3, np.nan, 5]), np.array([1.0, 4, 9, 7, 25])
    assert effects.rank_correlation(scores, changes) == (pytest.approx(1), pytest.approx(0))
    assert np.isnan(effects.rank_correlation(scores, np.ones(5))[0])
    with pytest.raises(BadData, match="three heads"):
        effects.rank_correlation(scores[2:4], changes[2:4])
    said = [effects.verdict(*one) for one in ((0.9, 0.0), (0.5, 0.0), (0.2, 0.01), (0.3, 0.4), (-0.5, 0.0))]
    for words, text in zip(("well", "roughly", "faintly", "does not tell", "upside down"), said, strict=True):
        assert words in text


@pytest.mark.parametrize(
    "least, words", [([0.0, 0.0, 1.0], "saves 0.250 nats"), ([0.0, 1.0, 1.0], "costs 0.250 nats more")]
)
def test_a_deletion_curve_is_judged_by_its_area_against_random_order(least, words):
    figure = effects.deletion(
        ["least"] * 3 + ["most"] * 3 + ["random"] * 6, [0] * 9 + [1] * 3, [0, 4, 8] * 4,
        [*least, 0, 1, 1, 0, 0.4, 1, 0, 0.6, 1], [1.0] * 12, score="taylor", cut=4,
    )  # fmt: skip
    assert words in figure.layout.title.text
    assert f"at {1 if least[1] == 0 else 0} of 1 points" in figure.layout.title.text
    band = next(trace for trace in figure.data if trace.fill == "toself")
    assert band.y == (0, 0.6, 1, 1, 0.4, 0) and figure.layout.shapes[0].x0 == 4
    with pytest.raises(BadData, match="each order"):
        effects.deletion(["least"], [0], [0], [0.0], [1.0], score="taylor")


def test_a_clicked_point_is_the_head():
    values = np.arange(12.0).reshape(2, 2, 3)
    figure = effects.score_against_change(values, values, ("q", "v"), score="taylor", selected=(1, 2))
    assert [list(point[:2]) for point in figure.data[1].customdata][-1] == [1, 2]
    assert len(figure.layout.meta["numbers"]["head"]) == 12
    with pytest.raises(BadData, match="shape"):
        effects.score_against_change(values, values[:1], ("q", "v"), score="taylor")


def test_a_saved_picture_is_the_grey_image_under_the_colours_of_the_signs():
    picture = attribution.overlaid(GREY, np.array([[1.0, 0.0], [0.0, -1.0]]), 1.0, side=32).astype(int)
    assert picture.shape == (32, 32, 3)
    assert picture[4, 4, 0] > picture[4, 4, 2] and picture[28, 28, 2] > picture[28, 28, 0]  # orange for, blue against
    assert abs(picture[4, 28] - 128).max() < 8


@pytest.mark.parametrize(
    "said, words", [([0, 0, 0], "from the start"), ([1, 1, 0], "Only the last layer"), ([1, 0, 0], "after layer 1")]
)
def test_a_lens_says_from_where_on_the_class_stays(said, words):
    figure = attribution.layer_lens(np.eye(2)[said], ["cat", "<b>"], true=1)
    assert words in figure.layout.title.text and "<b> (true)" not in [trace.name for trace in figure.data]


@pytest.mark.parametrize(
    "values, said",
    [
        ([0.0103, -0.000577, 7e-5, -1e-6], ["0.0103", "\N{MINUS SIGN}0.0006", "0.0001", "0.0000"]),
        ([1.4, 0.123], ["1.40", "0.12"]),
        ([1234.5, 2.0], ["1234", "2"]),
        ([0.0, np.nan], ["0.00"]),
    ],
)
def test_squares_of_one_table_have_equal_decimals(values, said):
    figure = xray.by_layer(np.array([values]).T, ["q"], title="", what="norm")
    written = [text for trace in figure.data[1:] for text in trace.text or ()]
    assert sorted(written) == sorted(said)
