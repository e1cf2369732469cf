"""Random weights are marked on every figure of a model that began with them, and on no other."""

from __future__ import annotations

import pytest
from drawn import titles

from peftcore.store import gallery

UNMARKED = {"heads": 1, "attention": 1, "runs": 3}  # the strip of images; learning rate and memory


@pytest.mark.parametrize(
    "page, method", [("heads", "lora"), ("attention", "lora"), ("attention", "last"), ("runs", "last")]
)
def test_figures_of_a_run_with_random_weights_say_so(at, trained, page, method):
    told = titles(at(page, run=trained[method]))
    marked = [title for title in told if title.endswith(">random weights</span>")]
    assert len(marked) == len(told) - UNMARKED[page] > 1


def test_the_home_page_s_picture_says_so(at, trained):
    assert all(title.endswith(">random weights</span>") for title in titles(at("home"))) and titles(at("home"))


@pytest.mark.parametrize("page", ["home", "heads", "attention"])
def test_figures_of_a_run_with_pretrained_weights_do_not(at, page):
    assert gallery.names() and not any("random weights" in title for title in titles(at(page)))
