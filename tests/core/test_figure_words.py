"""What figures say of unusual numbers: a patch that gets everything, scores that are all zero or not finite."""

from __future__ import annotations

import numpy as np
import pytest

from peftcore.figures import heads
from peftcore.figures.atlas import Range, sheet
from peftcore.figures.attention import attention_difference, attention_overlay


def said(figure) -> str:
    return str(figure.to_dict())


def test_a_patch_that_gets_everything_gets_a_hundred_percent():
    one, other = np.zeros((4, 4)), np.zeros((4, 4))
    one[1, 1] = other[2, 2] = 1
    texts = said(attention_overlay(np.zeros((32, 32, 3), np.uint8), one))
    assert "100 % of the attention" in texts and "e+02" not in texts
    texts = said(attention_difference(one, other))
    assert "100 %" in texts and "-100.0 points" in texts and "e+02" not in texts


def test_scores_that_are_all_zero_name_no_layer():
    zeros = np.zeros((3, 4))
    assert "has moved yet" in said(heads.layer_profile(zeros))
    assert "has moved yet" in said(heads.head_grid(zeros, score="taylor", projection="q"))


@pytest.mark.parametrize("odd", [np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_drawn_as_none(odd):
    values = np.arange(12.0).reshape(3, 4)
    values[1, 2] = odd
    for figure in (heads.layer_profile(values), heads.head_grid(values, score="taylor", projection="q")):
        assert "nan %" not in said(figure)


def test_a_sheet_shows_what_tells_grids_apart_and_which_heads_are_off():
    values, mask = np.arange(1.0, 7).reshape(2, 3), np.array([[True, True, False], [True, True, True]])
    drawn = sheet({"x": [("digits", values, mask, "LoRA, <seed> 0"), ("digits", values)]}, Range.over([values]))
    assert drawn.count("<rect") == 12 and drawn.count("<path") == 1 and "LoRA, &lt;seed&gt; 0" in drawn
