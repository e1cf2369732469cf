"""The classes that a column of a hub's data set gives to its images, whatever way it writes them."""

from __future__ import annotations

import numpy as np
import pytest

from peftcore import errors
from peftcore.tasks.remote._parquet import numbered

NAMES = ["cat", "dog"]


@pytest.mark.parametrize("names", [NAMES, None])
def test_a_split_without_labels_is_left_out(names):
    labels, classes = numbered("me/d", "label", {"train": [0, 1, 1], "test": [-1, -1]}, names)
    assert labels.keys() == {"train"} and [*labels["train"]] == [0, 1, 1]
    assert len(classes) == 2 and "-1" not in classes


def test_minus_one_is_a_class_where_the_others_hold_it_too():
    labels, classes = numbered("me/d", "label", {"train": [-1, 1, 1], "test": [-1, -1]}, None)
    assert classes == ("-1", "1") and [*labels["test"]] == [0, 0]


@pytest.mark.parametrize("names", [NAMES, None])
def test_whole_numbers_may_come_as_others(names):
    labels, classes = numbered("me/d", "label", {"train": [0.0, 1.0], "test": [1.0, float("nan")]}, names)
    assert labels.keys() == {"train"} and labels["train"].dtype == np.int64 and [*labels["train"]] == [0, 1]
    assert classes == tuple(names or ("0", "1"))


@pytest.mark.parametrize("odd", [[0.5, 1], [float("inf"), 0], [b"x", 1], [[0], [1]]])
def test_what_is_neither_a_whole_number_nor_a_word_is_refused(odd):
    with pytest.raises(errors.BadData, match="neither whole numbers nor words"):
        numbered("me/d", "label", {"train": odd}, None)


def test_without_any_class_it_is_refused():
    with pytest.raises(errors.BadData, match="lacks the class"):
        numbered("me/d", "label", {"train": [-1, -1], "test": [None]}, None)
