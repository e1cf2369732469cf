"""Addresses that an earlier Headroom made still open what they opened.

tests/fixtures/yesterday/links.json has them with what was to be seen, on the runs of the store that lies beside it. An
address names a page and its settings, and nothing else of the app is named here.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from drawn import figures

import peftcore as pc
from peftcore.store import recipes

YESTERDAY = Path(__file__).resolve().parents[1] / "fixtures" / "yesterday"
LINKS = json.loads((YESTERDAY / "links.json").read_text()) if (YESTERDAY / "links.json").exists() else []
WORDS = ("title", "header", "subheader", "markdown", "caption", "info", "success", "warning", "error", "code")
# What these words of the past read by now.
NOW = {
    # Where frozen features are kept is said in the words of a run.
    "computed in the step": "Features are computed in every epoch",
    # Run titles carry the backbone, and what sets a run apart from others of its title.
    "Run 3: LAST on digits, 0.71 has no head scores": "Run 3: LAST on digits, vit_micro, 0.714 has no head scores",
    "Race 3: LAST on digits over rank": "Race 3: LAST on digits, vit_micro, over rank",
    # Scores are read as multiples of the median.
    "Head 5 of layer 3: rank 12 of 64**, taylor 0.00206 in v": "Head 5 of layer 3: rank 12 of 64**, ",
    "Head 1 of layer 1: rank 1 of 64**, energy 1.01 in q": "Head 1 of layer 1: rank 1 of 64**, 2.1 times the median",
    # The recorded examples are of other weights and other recipes than then, so their heads rank otherwise.
    "Head 1 of layer 8: rank 49 of 64": "Head 1 of layer 8: rank ",
    "Head 3 of layer 2: rank 9 of 66": "Head 3 of layer 2: rank ",
    # Layers count from 1, everywhere.
    "Neither keeps anything of blocks.2": "Neither keeps anything of layer 3",
}


# What nobody can have was replaced by the default, with a warning, and launched. By now it stands in its field with the
# reason, and nothing is launched.
REFUSED: dict[str, dict[str, Any]] = {
    "/launch?last.gap=65&precision=fp8": {
        "settings": {"last.gap": ["65"], "precision": ["fp8"]},
        "widgets": {"last.gap": 65, "precision": "fp8"},
        "figures": 0,
        "words": ["at least 1 and at most 64.", "it must be 'fp32' or 'bf16'."],
    },
    "/launch?method=lorra&task=digit": {
        "widgets": {"launch_method": "lorra", "launch_task": "digit"},
        "figures": 0,
        "words": ["Did you mean 'lora'?", "Did you mean 'digits'?"],
    },
}


# What is seen; make.py uses these as well.


def parts(address: str) -> tuple[str, dict[str, list[str]]]:
    """The page and its settings."""
    split = urlsplit(address)
    return split.path.strip("/") or "home", parse_qs(split.query, keep_blank_values=True)


def words(app: Any) -> str:
    """All that can be read on a page."""
    found = [element.value for kind in WORDS for element in getattr(app, kind)]
    found += [f"{metric.label}: {metric.value}" for metric in app.metric]
    found += [f"{column}: {value}" for table in app.dataframe for column, of in table.value.items() for value in of]
    found += [bar.proto.text for bar in app.get("progress")] + [button.label for button in app.button]
    return "\n".join(found).replace("\\", "")


def settings(app: Any) -> dict[str, list[str]]:
    """The address as the page leaves it."""
    said = {name: app.query_params[name] for name in app.query_params}
    return {name: value if isinstance(value, list) else [value] for name, value in said.items()}


def plain(value: Any) -> Any:
    """A widget's value as JSON has it."""
    return json.loads(json.dumps(value))


def seen(app: Any, widgets: list[str]) -> dict[str, Any]:
    """The rest of what links.json has of a page."""
    return {
        "title": app.title[0].value,
        "settings": settings(app),
        "widgets": {key: plain(app.session_state[key]) for key in widgets},
        "figures": len(figures(app)),
        "leads to": {link.label: [link.proto.page, parse_qs(link.proto.query_string)] for link in app.get("page_link")},
    }


def settled(app: Any, page: str) -> None:
    """Runs the Memory page again until nothing is being predicted: what came while it was drawn is not on it yet."""
    for _ in range(5 if page == "memory" else 0):
        if not app.get("progress"):
            break
        app.run()
    assert not app.exception, app.exception


def launched(app: Any, store: Any) -> list[dict[str, Any]]:
    """The specs of the runs that a click on Launch queues."""
    before = store.runs(limit=1)[0].id
    app.button("launch").click().run()
    assert not app.exception, app.exception
    return [record.spec for record in store.runs()[::-1] if record.id > before]


# Comparing


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A copy of yesterday's store, in use."""
    home = tmp_path / "yesterday"
    shutil.copytree(YESTERDAY / "store", home)
    monkeypatch.setenv("HEADROOM_HOME", str(home))
    # Nothing was measured: a link that names no learning rate means the default, whichever that is by now.
    monkeypatch.setattr(recipes, "recorded", tuple)
    return pc.store.Store(home)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link["address"][:60])
def test_a_link_opens_what_it_opened(at, store, link):
    page, said = parts(link["address"])
    link = link | REFUSED.get(link["address"], {})
    app = at(page, **said)
    settled(app, page)
    found = seen(app, list(link["widgets"]))
    for key, value in link["widgets"].items():  # a number is typed as text by now
        if isinstance(value, (int, float)) and isinstance(text := found["widgets"][key], str):
            found["widgets"][key] = float(text)
    if "lr" not in said:  # a preset that named none may say by now which one it meant
        found["settings"].pop("lr", None)
    same = ("title", "settings", "widgets")
    assert {name: found[name] for name in same} == {name: link[name] for name in same}
    assert found["figures"] >= link["figures"]  # a page may show more by now
    for text in link["words"]:
        assert NOW.get(text, text) in words(app)
    for page, query in link["leads to"].values():  # with what they said then; they may say more by now
        assert any(page == to and query.items() <= now.items() for to, now in found["leads to"].values())
    if "launches" in link:
        assert [pc.RunSpec.from_dict(spec) for spec in launched(app, store)] == [
            pc.RunSpec.from_dict(spec) for spec in link["launches"]
        ]


@pytest.mark.parametrize("page", ["launch", "runs", "tasks", "heads", "attention", "memory"])
def test_there_are_links_to_each_page(page):
    assert sum(parts(link["address"])[0] == page for link in LINKS) >= 3
