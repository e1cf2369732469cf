"""What a person typed is never markup: a name made of links and tags, walked through the pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from drawn import figures
from PIL import Image

from app import errors
from app.launch import task_choice

TYPED = "[Session expired](https:evil.example)<i>x</i>$y$`z`*w*"  # no slash: it is a folder's name as well
CLASS = "![t](https://evil.example/t.png)<a href='https://evil.example'>{}</a>*v*"
# What is left of them where they were not escaped; escaped marks are taken out before.
MARKUP = re.compile(r"\[Session|\]\(https|!\[t|<i>|<a href|\$y\$|`z`|\*[wv]\*|https?://[\w.]")
HTML = re.compile(r"<i>|<a href")
# Of Streamlit's messages, the fields that its browser side draws as Markdown, by element.
FIELDS = {
    "markdown": ("body", "help"),
    "heading": ("body", "help"),
    "alert": ("body",),
    "metric": ("label", "help"),
    "progress": ("text",),
    "button": ("label", "help"),
    "download_button": ("label", "help"),
    "page_link": ("label", "help"),
    "spinner": ("text",),
    "file_uploader": ("label", "help"),
    "checkbox": ("label", "help"),
    "selectbox": ("label", "help"),
    "text_input": ("label", "help"),
    "number_input": ("label", "help"),
    "multiselect": ("label", "help"),
    "expandable": ("label",),
    "popover": ("label", "help"),
}


def drawn(node: Any) -> Iterator[tuple[str, str]]:
    """Every text of a page that the browser draws as Markdown or as HTML, with its kind."""
    proto = getattr(node, "proto", None)
    kind = getattr(node, "type", "")
    if proto is not None:
        names = {
            kind,
            getattr(proto, "DESCRIPTOR", None) and re.sub("(?<!^)(?=[A-Z])", "_", proto.DESCRIPTOR.name).lower(),
        }
        which = (
            proto.WhichOneof("type")
            if hasattr(proto, "WhichOneof") and "type" in proto.DESCRIPTOR.oneofs_by_name
            else None
        )
        part = getattr(proto, which) if which else proto
        names.add(which)
        for field in {f for name in names for f in FIELDS.get(name, ())}:
            yield f"{kind}.{field}", str(getattr(part, field, "") or "")
        if hasattr(part, "options") and "button_group" in names:
            yield from ((f"{kind}.option", option.content) for option in part.options)
        if "html" in names:
            yield "html", part.body
        if "imgs" in names:
            yield from (("caption", image.caption) for image in part.imgs)
    for child in getattr(node, "children", {}).values():
        yield from drawn(child)


def titles(layout: Any) -> Iterator[str]:
    """Texts of a Plotly layout, which takes a subset of HTML."""
    if isinstance(layout, dict):
        for name, value in layout.items():
            if name in ("text", "ticktext"):
                yield from [value] if isinstance(value, str) else map(str, value or ())
            else:
                yield from titles(value)
    elif isinstance(layout, list):
        for one in layout:
            yield from titles(one)


def markup(page: Any) -> list[tuple[str, str]]:
    """What would be markup on a page and was typed."""
    texts = list(drawn(page._tree))
    texts += [("plotly", text) for one in figures(page).values() for text in titles(one["layout"])]
    return [
        (kind, text)
        for kind, text in texts
        if (HTML.search(text) if kind in ("html", "plotly") else MARKUP.search(re.sub(r"\\.", "", text)))
    ]


def test_marks_links_and_tags_are_text():
    for text in (TYPED, CLASS, "a\n# b", "www.evil.example", "me@evil.example", ":red[x]", "&lt;"):
        plain = errors.plain(text)
        assert not MARKUP.search(re.sub(r"\\.", "", plain)) and "\n" not in plain
        assert re.sub(r"\\(.)|\N{WORD JOINER}", r"\1", plain) == " ".join(text.split("\n"))
    assert "www." not in errors.plain("www.evil.example") and "@e" not in errors.plain("me@evil.example")
    assert errors.plain("\u202ecats\u2066") == "cats"
    assert errors.code("a`b") == "`a'b`"


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A run on a folder of images whose name and whose classes are markup: its store and its task."""
    from peftcore.engine.job import SUMMARY
    from peftcore.engine.worker import artifacts_of
    from peftcore.spec import RunSpec
    from peftcore.store import Store
    from peftcore.train import loop

    root = tmp_path_factory.mktemp("evil")
    folder = root / TYPED.replace("/", "")
    folder.mkdir()
    lines, rng = ["file,label"], np.random.default_rng(0)
    for nth in range(20):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / f"{nth}.png")
        lines.append(f'{nth}.png,"{CLASS.format(nth % 2)}"')
    (folder / "labels.csv").write_text("\n".join(lines))
    spec = RunSpec(method="lora", task=f"folder:{folder}?size=16", epochs=1, batch_size=8, pretrained=False)
    store, told, artifacts = Store(root / "home"), [], {}
    for event in loop.finetune(spec):
        told.append(event.to_dict())
        artifacts |= artifacts_of(event)
    race = store.create_race([spec.to_dict(), spec.to_dict()])
    for run in race:
        store.set_status(run, "running")
        store.append(run, told, artifacts)
        store.set_status(run, "finished", summary={name: told[-1][name] for name in SUMMARY})
    failed = store.create_run(spec.to_dict(), owner=TYPED)
    store.set_status(failed, "failed", error=f"There is no {TYPED}.")
    return store, spec.task


PAGES = {
    "home": {},
    "tasks": {},
    "tasks task": {"task": "TASK"},
    "launch": {"task": "TASK", "method": "hf_peft", "hf_peft.options": '{"a": "TYPED"}', "weights": "TYPED"},
    "launch race": {"backbone": "TYPED", "method": "TYPED", "TYPED": "TYPED", "race": "TYPED"},
    "launch settings": {"task": "TYPED", "lora.targets": "TYPED", "method": "lora", "augmentation": "TYPED"},
    "runs": {"run": "1"},
    "runs failed": {"run": "3"},
    "runs race": {"race": "1"},
    "compare": {"runs": "1,2"},
    "compare mistakes": {"runs": "1,2", "view": "mistakes"},
    "compare nothing": {"runs": "TYPED"},
    "heads": {"run": "1"},
    "attention": {"run": "1", "image": "own-TYPED"},
    "attribution": {"run": "1", "by": "rollout"},
    "try_it": {"runs": "1,2"},
    "xray": {"adapter": "1", "beside": "2"},
    "memory": {"task": "TASK", "backbone": "TYPED", "methods": "linear"},
    "memory task": {"task": "TASK", "methods": "linear", "curve": "TYPED", "batch": "TYPED"},
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_no_page_takes_what_was_typed_for_markup(at, evil, monkeypatch, page):
    store, task = evil
    monkeypatch.setenv("HEADROOM_HOME", str(store.folder))
    monkeypatch.setattr(task_choice, "by_group", lambda: {"natural": ["digits"]})  # the rest are Headroom's own
    said = {
        name.replace("TYPED", "x" + TYPED): value.replace("TYPED", TYPED).replace("TASK", task)
        for name, value in PAGES[page].items()
    }
    shown = at(page.split()[0], **said)
    texts = list(drawn(shown._tree))
    assert not markup(shown), markup(shown)
    assert len(texts) > 3 and any("evil" in text for _, text in texts) or page in ("home", "memory", "xray")
