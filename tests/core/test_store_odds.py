"""What a home, a terminal and a room bring along: many runs of one person, texts that no encoding holds, a resumed run
that was archived, names in every script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peftcore import errors
from peftcore.engine import caps
from peftcore.engine.room import Room, archive, progress
from peftcore.store import Store, custody, listing, marks

SPEC = {"backbone": "b", "method": {"name": "last"}, "task": "digits"}


@pytest.fixture
def store(home) -> Store:
    return Store()


def test_nobody_is_hidden_by_another_persons_many_runs(store, monkeypatch):
    monkeypatch.setattr(progress, "MOST_RUNS", 5)
    room = Room()
    room.enter("Ana")
    run = store.create_run(SPEC, owner="Ana")
    store.set_status(run, "finished", summary={"val_accuracy": 0.9})
    for _ in range(7):
        store.create_run(SPEC, owner="Bob")
    ana = next(row for row in progress.progress(store, room) if row.name == "Ana")
    assert (ana.counts, ana.best, ana.val, ana.newest.id) == ({"finished": 1}, run, 0.9, run)


def test_an_archived_run_that_is_resumed_is_seen_at_work(store):
    run = store.create_run(SPEC)
    store.set_status(run, "interrupted")
    marks.archive(store, [run])
    assert custody.resume(store, run, "engine", "interrupted")
    assert listing.page(store, listing.Filter()).total == 1 and store.run(run).archived is None
    with store.write() as db:  # as an earlier Headroom left it
        db.execute("UPDATE runs SET archived = 1")
    assert marks.archive(store, [run], on=False) == [run] and store.run(run).archived is None
    with pytest.raises(errors.InvalidSetting, match="is queued and cannot be archived"):
        marks.archive(store, [run])


def test_a_search_of_a_page_of_text_finds_nothing_and_breaks_nothing(store):
    store.create_run(SPEC)
    words = " ".join(f"word{n}" for n in range(1200))
    assert listing.page(store, listing.Filter(words)).total == 0
    assert listing.page(store, listing.Filter(" ".join(["digits"] * 1200))).total == 1


def test_what_is_not_unicode_is_a_sentence(store):
    run = store.create_run(SPEC)
    for ask in (lambda: listing.page(store, listing.Filter("\udcff")), lambda: marks.mark(store, [run], name="\udcff")):
        with pytest.raises(errors.InvalidSetting, match="not text in Unicode"):
            ask()


@pytest.mark.parametrize("names", [("राम", "रोम"), ("กา", "กี"), ("Ana", "Aná"), ("a/b", "c:d")])
def test_names_in_every_script_are_folders_of_their_own(names):
    found = [archive._safe(name) for name in names]
    assert len({*found}) == 2 and not any(set(r'\/:*?"<>|') & {*name} for name in found)
    if "/" not in names[0]:
        assert found == [*names]


@pytest.mark.parametrize("text, cpus", [("", 0), ("0", 0), ("3", 3)])
def test_cpus_of_a_run_as_the_environment_says(monkeypatch, text, cpus):
    monkeypatch.setenv("HEADROOM_CPUS_PER_RUN", text)
    assert caps.cpus_per_run() == cpus


@pytest.mark.parametrize("text", ["two", "-1", "1.5"])
def test_cpus_that_are_no_number_are_a_sentence(monkeypatch, text):
    monkeypatch.setenv("HEADROOM_CPUS_PER_RUN", text)
    with pytest.raises(errors.InvalidSetting, match="HEADROOM_CPUS_PER_RUN"):
        caps.cpus_per_run()


def test_a_list_with_a_star_goes_through_any_pipe(store):
    run = store.create_run(SPEC)
    marks.mark(store, [run], starred=True)
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(
        [sys.executable, "-m", "peftcore", "runs"], env=environment, capture_output=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0 and b"UnicodeEncodeError" not in done.stderr, done.stderr.decode()
