"""Laws of the list of runs: what fits is on exactly one page, marks come back as typed, what is deleted comes back."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from typer.testing import CliRunner

from peftcore import errors
from peftcore.cli.commands import app
from peftcore.store import Store, listing, marks
from peftcore.store.listing import Filter

TYPED = ["<b>*bold*</b> [x](y)", "Übung\nzwei", "'; DROP TABLE runs; --", "%_"]


def spec(method="lora", task="digits", seed=0, **settings):
    own = {"name": method, "rank": 8, "projections": ["q", "v"], **settings}
    return {"method": own, "task": task, "backbone": "vit_micro", "seed": seed, "lr": 1e-3, "pretrained": True}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path))
    return Store(tmp_path)


@pytest.fixture
def runs(store) -> dict[str, int]:
    made = {
        "lora": store.create_run(spec()),
        "bi_lora": store.create_run(spec("bi_lora", "cells", rank=4)),
        "last": store.create_run(spec("last", seed=7), owner="Zoë"),
        "failed": store.create_run(spec("vpt")),
    }
    race = store.create_race([spec(seed=1), spec(seed=2), spec("last", seed=3)])
    made |= {f"race{nth}": run for nth, run in enumerate(race)}
    for name, run in made.items():
        store.set_status(run, "failed" if name == "failed" else "finished", error="nan" if name == "failed" else None)
    return made


def found(store, **wanted) -> list[int]:
    return [record.id for entry in listing.page(store, Filter(**wanted), 100).entries for record in entry]


def test_pages_hold_every_entry_once_and_the_newest_first(store):
    for nth in range(20):
        store.create_race([spec(seed=nth), spec(seed=-nth)]) if nth % 3 == 0 else store.create_run(spec(seed=nth))
    whole = listing.page(store, Filter(), 100)
    assert (whole.total, whole.runs) == (20, 27)
    pages = [listing.page(store, Filter(), 6, number) for number in range(5)]
    assert list(itertools.chain(*(page.entries for page in pages))) == whole.entries
    assert [len(page.entries) for page in pages] == [6, 6, 6, 2, 0] and {page.total for page in pages} == {20}
    assert [record.id for entry in whole.entries for record in entry] == list(range(27, 0, -1))
    assert found(store) == [record.id for record in store.runs()], "without a filter, the list is all runs"


def test_no_event_and_no_artifact_is_read(store, runs):
    statements = []
    with store.read() as db:
        db.set_trace_callback(statements.append)
    listing.page(store, Filter("lora rank=8", tag=("x",)))
    listing.facets(store)
    assert len(statements) > 5 and not any("events" in sql or "artifacts" in sql for sql in statements)


@pytest.mark.parametrize(
    "wanted, expected",
    [
        ({"text": "BI-LoRA"}, {"bi_lora"}),
        ({"text": "lora digits"}, {"lora", "race0", "race1", "race2"}),
        ({"text": "zOË"}, {"last"}),
        ({"text": "seed=7"}, {"last"}),
        ({"text": "rank=4.0"}, {"bi_lora"}),
        ({"text": "lr=1e-3 projections=V cells"}, {"bi_lora"}),
        ({"text": "pretrained=true vpt"}, {"failed"}),
        ({"text": "pretrained=false"}, set()),
        ({"text": "3"}, {"last"}),
        ({"text": "5" * 30}, set()),
        ({"text": "%"}, set()),
        ({"status": ("failed", "running")}, {"failed"}),
        ({"method": ("last",), "task": ("digits",)}, {"last", "race0", "race1", "race2"}),
        ({"backbone": ("vit_micro",), "method": ("vpt",)}, {"failed"}),
        ({"starred": True}, set()),
        ({"owner": ("Zoë",)}, {"last"}),
        ({"owner": ("",), "status": ("failed",)}, {"failed"}),
    ],
)
def test_filters_find_what_they_say(store, runs, wanted, expected):
    assert set(found(store, **wanted)) == {runs[name] for name in expected}


@pytest.mark.parametrize("typed", TYPED)
def test_what_was_typed_comes_back_and_is_found(store, runs, typed):
    run = runs["last"]
    marks.mark(store, [run], name=typed, note=typed, tags=[typed, "b", "b"], starred=True)
    again = Store(store.folder).run(run)
    assert (again.note, again.starred) == (typed, True)
    assert again.name == typed.replace("\n", " ") and again.tags == (again.name, "b")
    assert found(store, text=typed.split()[0].upper()) == [run] == found(store, tag=(again.name,))
    assert found(store, starred=True) == [run]
    assert listing.facets(store)["tag"] == {again.name: 1, "b": 1}
    marks.mark(store, [run], name="", tags=[])
    assert (store.run(run).name, store.run(run).tags, store.run(run).note) == ("", (), typed)


def test_marks_that_are_too_long_change_nothing(store, runs):
    for wrong in ({"name": "x" * 81}, {"note": "x" * 4001}, {"tags": ["x" * 33]}, {"tags": map(str, range(13))}):
        with pytest.raises(errors.InvalidSetting, match="at most"):
            marks.mark(store, [runs["last"]], starred=True, **wrong)
    with pytest.raises(errors.UnknownName, match="no run 99"):
        marks.mark(store, [runs["last"], 99], name="x")
    assert not store.run(runs["last"]).starred and store.run(runs["last"]).name == ""


def test_archived_and_deleted_runs_leave_the_list_and_come_back(store, runs):
    everything, two = found(store), [runs["last"], runs["race1"]]
    assert marks.archive(store, two) == two and marks.archive(store, two) == []
    assert found(store, shelf="archived") == two[::-1] and not set(two) & set(found(store))
    assert [record.id for record in store.runs()] == everything, "an archived run is known everywhere else"
    assert marks.delete(store, two) == two and marks.delete(store, two) == []
    assert not set(two) & {record.id for record in store.runs()} and store.runs(race=runs["race0"])
    assert found(store, shelf="deleted") == two[::-1] and found(store, shelf="archived") == []
    assert listing.facets(store)["shelf"] == {"current": 5, "archived": 0, "deleted": 2}
    assert marks.restore(store, two) == two and found(store, shelf="archived") == two[::-1]
    assert marks.archive(store, two, on=False) == two and found(store) == everything


def test_what_is_at_work_is_not_put_away(store, runs):
    run = store.create_run(spec())
    for put_away in (marks.archive, marks.delete):
        with pytest.raises(errors.InvalidSetting, match=f"Run {run} is queued and cannot be"):
            put_away(store, [runs["last"], run])
    assert store.run(runs["last"]).deleted is None, "all of them or none"


def test_only_what_was_deleted_long_ago_is_purged(store, runs, monkeypatch):
    store.append(runs["last"], [{"kind": "step"}], {"adapter": b"x"})
    marks.delete(store, [runs["last"]])
    assert marks.purge(store) == []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 86400)
    marks.delete(store, [runs["lora"]])
    assert marks.purge(store) == [runs["last"]] and store.run(runs["lora"]).deleted
    with pytest.raises(errors.UnknownName):
        store.run(runs["last"])
    assert store.events(runs["last"]) == [] == store.artifact_names(runs["last"])


def test_the_command_line_does_the_same(store, runs):
    def said(*words: object):
        return json.loads(CliRunner().invoke(app, ["runs", *map(str, words), "--json"], catch_exceptions=False).output)

    last = runs["last"]
    assert [row["id"] for row in said()] == found(store) and "Page 1 of 1" in CliRunner().invoke(app, ["runs"]).output
    [changed] = said(last, "--name", "best", "--tag", "thesis, seeds", "--star")
    assert (changed["name"], changed["tags"], changed["starred"]) == ("best", ["thesis", "seeds"], True)
    assert said(last, "--untag", "seeds")[0]["tags"] == ["thesis"]
    assert [row["id"] for row in said("--search", "BEST", "--tagged", "thesis", "--starred")] == [last]
    assert [row["id"] for row in said("--owner", "Zoë")] == [last] and said()[-3]["owner"] == "Zoë"
    said(last, "--delete")
    assert last not in [row["id"] for row in said()] and [row["id"] for row in said("--deleted")] == [last]
    said(last, "--restore", "--archive")
    assert [row["id"] for row in said("--archived")] == [last]
    with pytest.raises(errors.UnknownName, match="Did you mean 'finished'"):
        said("--status", "finshed")
    assert "Page 1 of 1" in CliRunner().invoke(app, ["runs", "--tagged", "nobody's"]).output, "what is empty says so"
    with pytest.raises(errors.InvalidSetting, match="Name the runs"):
        said("--star")
    said(last, "--delete")
    for beside in ((last,), ("--star",), (last, "--restore")):
        with pytest.raises(errors.InvalidSetting, match="stands alone"):
            said("--purge", *beside)
    assert said("--purge") == {"purged": [last]} and said("--deleted") == []
