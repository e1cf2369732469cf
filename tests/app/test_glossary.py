"""The glossary and the tour: links resolve, every term is used, and the tour leads through pages that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from app import glossary, tour
from app.methods import card, known
from app.navigation import PAGES, SECTIONS
from peftcore import errors
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import recipes

ROOT = Path(glossary.__file__).parents[1]
MODELS = [RunSpec, *(METHODS.load(name).METHOD for name in METHODS.names())]
HELPS = [info.description for model in MODELS for info in model.model_fields.values() if info.description]


def test_links_resolve_and_every_term_is_used():
    found = glossary.terms()
    words = [word.lower() for term in found.values() for word in (term.name, *term.says)]
    assert len(set(words)) == len(words), "a word of two terms"
    used: set[str] = set()
    texts = [(text, "") for text in HELPS] + [(term.text, term.name) for term in found.values()]
    for text, own in texts:
        marked = glossary.linked(text, own)
        names = [unquote(name) for name in re.findall(r"\]\(glossary\?term=([^)]+)\)", marked)]
        assert re.sub(r"\[([^\]]*)\]\(glossary[^)]*\)", r"\1", marked) == text and len(set(names)) == len(names)
        used |= set(names)
    assert used == set(found), f"no help text and no other term speaks of {set(found) - used}"
    for term in found.values():
        assert (term.page in PAGES) != (term.method in METHODS.names()), term


def test_formulas_code_and_links_stay():
    text = "Rank `rank` of $rank$ in [the rank](x); a low-rank update of rank 8"
    assert glossary.linked(text).count("glossary") == 1 and "`rank` of $rank$ in [the rank](x)" in glossary.linked(text)


def test_pages_stand_in_one_section_at_most():
    inside = [name for names in SECTIONS.values() for name in names]
    assert len(set(inside)) == len(inside) and set(inside) <= set(PAGES) and next(iter(PAGES)) not in inside


def test_the_page_shows_the_term_that_a_link_names(at):
    page = at("glossary", term="class token")
    assert "class token" in page.info[0].value and len(page.markdown) >= len(glossary.terms()) and not page.warning
    assert "Did you mean" in at("glossary", term="clas token").warning[0].value


def test_the_tour_is_offered_led_and_ended(at):
    page = at("home")
    assert not any(button.key == "tour_begin" for button in page.button), "the browser has not said that it is new"
    page.session_state["tour_seen"] = "never"
    page.run()
    page.button("tour_begin").click().run()
    assert set(tour.STEPS) <= set(PAGES) and len(tour.STEPS) == 6
    assert any("1 of 6" in text.value for text in page.markdown)
    page.switch_page("pages/learn.py").run()
    assert any("2 of 6" in text.value for text in page.markdown)
    page.button("tour_end").click().run()
    page.switch_page("pages/home.py").run()
    assert not any((button.key or "").startswith("tour_") for button in page.button), "never twice"


@pytest.mark.parametrize("method", ["lora", "last", "hf_peft"])
def test_a_method_has_its_card(at, method):
    """With what it reached here: in the search for its recipe, or how to find that out."""
    page = at("methods", method=method)
    assert page.title[0].value.startswith("What does") and page.get("latex") or page.markdown
    assert any("svg+xml" in text.value for text in page.markdown)
    searched = known.searched(method)
    for row in searched:
        assert any(f"**{row['val']:.1f} %** of the validation images" in text.value for text in page.markdown)
    assert searched or known.ours(method) or any("bench recipes" in code.value for code in page.code)


def test_help_texts_pass_through_the_glossary():
    """Also those whose terms stand in their own words. Those of buttons are labels, which go when the pointer does."""
    bare = []
    for file in [*(ROOT / "app").rglob("*.py"), *(ROOT / "pages").glob("*.py")]:
        tree = ast.parse(file.read_text())
        named = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign | ast.AugAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            widget = ast.unparse(call.func).rpartition(".")[2]
            for given in [one.value for one in call.keywords if one.arg == "help"]:
                value = named.get(given.id, given) if isinstance(given, ast.Name) else given
                is_linked = isinstance(value, ast.Call) and ast.unparse(value.func) == "glossary.linked"
                words = [n.value for n in ast.walk(value) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                has_terms = any(glossary.linked(text) != text for text in words) or "description" in ast.unparse(value)
                if has_terms and not is_linked and not widget.endswith(("button", "popover", "caption")):
                    bare.append(f"{file.name}, line {call.lineno}: {widget}")
    assert not bare, "write help=glossary.linked(...)"


def test_a_formula_of_weights_says_what_its_letters_are():
    said = known.letters("2 * projections * L * d * rank", {"projections": ["q", "v"], "rank": 8})
    assert said == "projections = 2 (q, v), $L$ = 12 blocks, width $d$ = 768, rank = 8"
    assert known.formula("12 * d * d + 13 * d") == r"12\,d^2 + 13\,d"


def test_a_long_sum_has_two_lines_on_a_phone():
    long = (
        r"x \leftarrow x + \mathrm{MLP}(\mathrm{LN}(x)) + s\,(W_{up}\,\mathrm{ReLU}(W_{down}\,x + b_{down}) + b_{up})"
    )
    assert card._broken(long).count("\\\\") == 1 and card._broken(long).split("\\\\")[1].startswith(r" {} + s\,(W")
    assert card._broken("y = W x + b") == "y = W x + b"


def test_a_card_tells_of_the_recipe_and_not_of_what_lost_to_it(monkeypatch):
    rows = [
        {"lr": 0.01, "epochs": 10, "clip": 1.0, "seeds": [0, 1, 2], "val": 0.6},  # better, by less than a point
        {"lr": 0.01, "epochs": 10, "seeds": [0, 1, 2], "val": 0.595},
    ]
    evidence = {"on": "cells", "weights": recipes.weights_digest("vit_micro"), "tried": rows}
    entry = {"method": "ssf", "backbone": "vit_micro", "values": {"lr": 0.01, "epochs": 10}, "evidence": evidence}
    monkeypatch.setattr(recipes, "recorded", lambda: (entry,))
    assert [row["val"] for row in known.searched("ssf")] == [59.5]


@pytest.mark.parametrize("entry", ['text = "x"\nsayz = ["y"]', 'says = ["y"]', ""])
def test_an_entry_that_is_no_term_is_named(entry, tmp_path, monkeypatch):
    (file := tmp_path / "glossary.toml").write_text(f"[good]\ntext = 'x'\n['bad one']\n{entry}\n")
    monkeypatch.setattr(glossary, "FILE", file)
    with pytest.raises(errors.InvalidSetting, match=r"glossary\.toml: 'bad one' is .* a term has a text"):
        glossary.terms.__wrapped__()
