"""Every page in `pages/` opens, with runs and without; methods that somebody adds are on them like all others."""

from __future__ import annotations

from pathlib import Path

import pytest
import streamlit as st

from app import navigation
from app.memory.cases import Case, predicted
from peftcore.registry import METHODS

PAGES = sorted(file.stem for file in (Path(navigation.__file__).parents[1] / "pages").glob("*.py"))


def test_every_page_is_in_the_navigation():
    assert sorted(navigation.PAGES) == PAGES, "each file in pages/ needs its line in app/navigation.py"


@pytest.mark.parametrize("page", PAGES)
def test_it_opens(at, page):
    """Whatever is not in the navigation would fall back to the first page without a word."""
    assert page in navigation.PAGES and at(page).title[0].value.strip()


@pytest.mark.parametrize("page", PAGES)
def test_it_opens_with_runs(at, trained, page):
    assert at(page).title[0].value.strip()


def test_a_new_side_method_is_predicted_from_cached_features(newcomers):
    """As what it is: its own few weights and a vector per image, not the activations of a backbone."""
    cases = [Case(method, "vit_micro", "8", "fp32", "auto") for method in ("gated_probe", METHODS.baseline("lower"))]
    report, probe = (predicted(case).result() for case in cases)
    assert report.components["features"] == probe.components["features"] > 0
    assert report.components["activations"] < 50_000
    assert cases[0].is_side and not Case("channel_scale", "vit_micro", "8", "fp32", "auto").is_side


@pytest.mark.parametrize("method, kind", [("gated_probe", "from its side"), ("channel_scale", "Changes what")])
def test_a_new_method_can_be_launched(newcomers, at, store, method, kind):
    page = at("launch", method=method)
    assert any(kind in caption.value for caption in page.caption) and not page.error
    page.button("launch").click().run()
    assert store.run(1).spec["method"]["name"] == method and not page.exception
    at("runs", run=1)


def test_a_new_method_is_on_the_memory_page(newcomers, at):
    assert not at("memory", methods=[*newcomers]).exception


def test_a_new_methods_card_says_what_its_docstring_says(newcomers, at):
    """Which has no reason to choose it and no paper."""
    page = at("methods", method="gated_probe")
    assert not page.exception and not page.error and "Two thin layers" in "".join(each.value for each in page.markdown)
    said = "".join(each.value for each in (*page.markdown, *page.caption))
    assert "When to choose" not in said and "No paper" not in said


def test_no_fragment_lies_in_another(at, trained, monkeypatch):
    """In a fragment that reruns on a timer, another one's blocks may come to the browser before those above them."""
    make, running, depths = st.fragment, [], []

    def fragment(function, **settings):
        def counted(*args, **kwargs):
            running.append(function)
            depths.append(len(running))
            try:
                return function(*args, **kwargs)
            finally:
                running.pop()

        return make(counted, **settings)

    monkeypatch.setattr(st, "fragment", fragment)
    at("runs", run=trained["lora"])
    assert depths and max(depths) == 1
    sources = Path(navigation.__file__).parent.rglob("*.py")
    decorated = [file.name for file in sources if "@st.fragment" in file.read_text()]
    assert not decorated, "a fragment is made where it is called, so that this test counts it"


def test_headings_leave_out_no_level():
    """A page has a title; what stands below it is a header, and a subheader only within one."""
    folder = Path(navigation.__file__).parent
    for file in [*folder.rglob("*.py"), *(folder.parent / "pages").glob("*.py")]:
        text = file.read_text()
        assert "st.subheader(" not in text or "st.header(" in text, f"{file.name}: a title is followed by st.header"
