"""Laws of the store: what goes in comes out, in order, complete or not at all, from many threads and processes."""

import sqlite3
import subprocess
import sys
import threading

import pytest

from peftcore import errors
from peftcore.home import home
from peftcore.store import STATUSES, Store, custody

STEPS = [{"kind": "step", "step": i, "loss": 1 / (i + 1), "memory": {"features": i}} for i in range(10)]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_folder_is_chosen_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path / "a" / "b"))
    assert Store().folder == tmp_path / "a" / "b"
    monkeypatch.delenv("HEADROOM_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert sys.platform == "darwin" or home() == tmp_path / "headroom"


def test_runs_round_trip_newest_first(store):
    spec = {"method": {"name": "last", "rank": 16}, "seed": 0, "weights": None}
    first = store.create_run(spec, owner="ann", title="LAST on digits")
    second = store.create_run({"seed": 1}, owner="bob")
    third = store.create_run({"seed": 2}, owner="ann")
    assert [r.id for r in store.runs()] == [third, second, first]
    assert [r.id for r in store.runs(limit=2)] == [third, second]
    assert [r.id for r in store.runs(owner="ann")] == [third, first]
    record = store.run(first)
    assert record.spec == spec
    assert (record.title, record.owner, record.status) == ("LAST on digits", "ann", "queued")
    assert record.started is record.seconds is record.error is None
    assert Store(store.folder).run(first) == record


def test_statuses_tell_the_times(store):
    run, other = store.create_run({}), store.create_run({})
    assert store.waiting() == [run, other]
    assert store.set_status(run, "running") and store.waiting() == [other]
    began = store.run(run)
    assert began.started >= began.created and began.finished is None and began.seconds >= 0
    assert store.set_status(run, "failed", error="Too warm.", summary={"test_accuracy": 0.5})
    ended = store.run(run)
    assert ended.ended and ended.error == "Too warm." and ended.summary == {"test_accuracy": 0.5}
    assert [r.id for r in store.runs(status="failed")] == [run]
    assert {r.id for r in store.runs(status=STATUSES)} == {run, other}
    # Queued again, it keeps when it first began, waits behind the others and has no error any more.
    assert store.set_status(run, "queued") and store.waiting() == [other, run]
    again = store.run(run)
    assert (again.started, again.finished, again.error) == (began.started, None, None)
    with pytest.raises(errors.InvalidSetting, match="'done'.*queued, running, finished"):
        store.set_status(run, "done")


def test_of_two_claimants_one_wins(store):
    run = store.create_run({}, engine="dead")
    claims = [store.set_status(run, "queued", engine=me, held_by="dead") for me in ("a", "b")]
    assert claims == [True, False] and store.run(run).engine == "a"
    assert not store.set_status(run, "cancelled", only_from=("running",))
    assert store.run(run).status == "queued"


def test_events_come_back_in_order_and_only_the_new_ones(store):
    run, other = store.create_run({}), store.create_run({})
    assert store.append(run, STEPS[:4]) == 4
    store.append(other, [{"kind": "progress", "done": 1}])
    seen = store.events(run)
    assert [{k: v for k, v in e.items() if k not in ("seq", "time")} for e in seen] == STEPS[:4]
    store.append(run, [*STEPS[4:], {"kind": "evaluation", "accuracy": 0.5}])
    new = store.events(run, after=seen[-1]["seq"])
    assert [e["seq"] for e in new] == list(range(5, 12))
    assert [e["step"] for e in store.events(run, kinds="step")] == list(range(10))
    assert [e["kind"] for e in store.events(run, after=9, kinds=["step", "evaluation"])] == ["step", "evaluation"]
    assert store.last_event(run, "step")["step"] == 9
    assert store.last_event(run, "finished") is None and store.events(run, after=11) == []


def test_numbers_are_not_numpy_but_may_be(store):
    np = pytest.importorskip("numpy")
    run = store.create_run({})
    store.append(run, [{"kind": "step", "loss": np.float32(0.5), "values": np.arange(2), "bad": float("nan")}])
    event = store.events(run)[0]
    assert event["loss"] == 0.5 and event["values"] == [0, 1] and event["bad"] != event["bad"]


def test_a_run_queued_again_forgets_what_came_after_its_checkpoint_and_gives_no_number_twice(store):
    run = store.create_run({}, engine="dead")
    store.append(run, STEPS[:6], {"checkpoint": b"6"})
    store.append(run, [{"kind": "checkpoint"}], {"checkpoint": b"6"})
    store.append(run, STEPS[6:9])
    assert custody.adopt(store, run, "heir", "dead") and not custody.adopt(store, run, "other", "dead")
    assert [e["seq"] for e in store.events(run)] == list(range(1, 8))
    store.append(run, STEPS[6:7], held_by="heir")
    assert [e["seq"] for e in store.events(run, after=7)] == [11]
    assert store.append(run, STEPS[7:8], held_by="dead") == 0  # one that only slept writes no more
    assert not store.set_status(run, "finished", held_by="dead")
    assert [e["seq"] for e in store.events(run, after=7)] == [11]


def test_a_run_that_comes_no_further_is_queued_again_a_few_times_and_a_person_may_always(store):
    run, place = store.create_run({}, engine="a"), store.create_run({})
    for _ in range(3):
        for _ in range(custody.MOST_LOSSES - 1):
            assert custody.lost(store, run, "a", "a")
        assert not custody.lost(store, run, "a", "a") and store.run(run).losses == custody.MOST_LOSSES - 1
        store.append(run, [{"kind": "checkpoint"}], {"checkpoint": b"1"}, held_by="a")
        assert store.run(run).losses == 0  # it has come further
    assert store.waiting() == [run, place]
    store.set_status(run, "interrupted")
    assert custody.resume(store, run, "a", "interrupted") and not custody.resume(store, run, "a", "interrupted")
    assert store.waiting() == [place, run]
    store.want_stop(run)
    assert not custody.lost(store, run, "a", "a")  # nobody wants it


def test_artifacts_and_events_are_written_together_or_not_at_all(store):
    run = store.create_run({})
    store.append(run, [{"kind": "checkpoint"}], {"checkpoint": b"\0one"})
    store.append(run, [{"kind": "checkpoint"}], {"checkpoint": b"\0two"})
    store.put_artifact(run, "adapter", b"w" * 1_000_000)
    assert store.get_artifact(run, "checkpoint") == b"\0two" and store.get_artifact(run, "other") is None
    assert store.artifact_names(run) == ["adapter", "checkpoint"]
    store.delete_artifact(run, "checkpoint")
    assert store.artifact_names(run) == ["adapter"]
    with pytest.raises(errors.StoreUnavailable):
        store.append(run, STEPS, {"broken": object()})
    assert store.last_event(run, "step") is None


def test_deleting_forgets_everything_and_never_a_run_at_work(store):
    run = store.create_run({})
    store.append(run, STEPS, {"adapter": b"w"})
    with pytest.raises(errors.InvalidSetting, match="queued.*cancel it first"):
        store.delete_run(run)
    store.set_status(run, "cancelled")
    store.delete_run(run)
    assert store.runs() == store.events(run) == store.artifact_names(run) == []
    for use in (store.run, store.delete_run):
        with pytest.raises(errors.UnknownName, match=f"no run {run}"):
            use(run)
        with pytest.raises(errors.UnknownName, match="no run of that number"):
            use(2**63)
    with pytest.raises(errors.UnknownName):
        store.append(run, STEPS)
    with pytest.raises(errors.UnknownName):
        store.put_artifact(run, "adapter", b"")
    assert store.create_run({}) == run + 1  # an old link never shows another run


def test_a_wish_to_stop_outlives_nothing_but_the_run(store):
    run = store.create_run({})
    assert store.want_stop(run) and store.run(run).stop_wanted
    store.set_status(run, "cancelled")
    assert not store.want_stop(run)
    store.set_status(run, "queued")
    assert not store.run(run).stop_wanted


def test_threads_and_processes_write_at_once(store):
    run = store.create_run({})
    program = f"""if True:
        from peftcore.store import Store
        store = Store({str(store.folder)!r})
        for i in range(100):
            store.append({run}, [{{"kind": "step", "from": "process", "i": i}}])
    """
    process = subprocess.Popen([sys.executable, "-c", program])

    def write(name):
        for i in range(100):
            store.append(run, [{"kind": "step", "from": name, "i": i}])

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    seen, after = [], 0
    while process.poll() is None or any(thread.is_alive() for thread in threads):
        new = store.events(run, after=after)  # a follower reads meanwhile
        seen += new
        after = new[-1]["seq"] if new else after
    seen += store.events(run, after=after)
    assert process.returncode == 0
    assert [e["seq"] for e in seen] == list(range(1, 301))
    for name in ("a", "b", "process"):
        assert [e["i"] for e in seen if e["from"] == name] == list(range(100))


def test_many_short_threads_need_few_connections(store):
    run = store.create_run({})
    for _ in range(50):
        thread = threading.Thread(target=store.run, args=(run,))
        thread.start()
        thread.join()
    assert store._db._idle.qsize() == 1


def test_two_openers_of_a_new_folder_agree(tmp_path):
    program = f"from peftcore.store import Store; print(Store({str(tmp_path / 'new')!r}).create_run({{}}))"
    openers = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(3)]
    assert sorted(int(opener.communicate()[0]) for opener in openers) == [1, 2, 3]


def test_a_program_that_only_looks_does_not_take_away_what_another_writes(store):
    """A second store of this process leaves the first one's locks: else whoever closes the file deletes its log."""
    file = store.folder / "headroom.sqlite3"
    Store(store.folder)  # such as the page's and the engine's
    look = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
        "print(db.execute('SELECT count(*) FROM runs').fetchone()[0]); db.close()"
    )
    seen = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", look, str(file)], capture_output=True, text=True, check=True)
        seen.append(int(done.stdout))
        store.create_run({"task": "digits"})
    assert seen == [0, 1] and file.with_name(file.name + "-wal").exists()


def test_ten_thousand_steps_are_read_at_once(store):
    run = store.create_run({})
    store.append(run, [{"kind": "step", "step": i, "loss": 1 / (i + 1), "lr": 1e-3} for i in range(10_000)])
    store.append(run, [{"kind": "evaluation"}])
    statements = []
    with store._db.read() as db:
        db.set_trace_callback(statements.append)
    assert len(store.events(run, kinds="step")) == 10_000 and len(statements) == 1
    store.last_event(run, "evaluation")
    with store._db.read() as db:  # a search for the newest of its kind, and no sorting
        plan = str(db.execute(f"EXPLAIN QUERY PLAN {statements[-1]}").fetchall())
    assert "events_by_kind (run=? AND kind=?)" in plan and "TEMP" not in plan


def test_a_full_disk_is_reported_and_loses_nothing(store):
    run = store.create_run({})
    store.append(run, STEPS)
    with store._db.read() as db:
        db.execute("PRAGMA max_page_count = 30")
    with pytest.raises(errors.StoreUnavailable, match="disk is full"):
        store.append(run, STEPS, {"adapter": b"w" * 1_000_000})
    with store._db.read() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    assert store.append(run, STEPS) == 20 and store.artifact_names(run) == []


def test_a_locked_file_is_reported(store):
    with store._db.read() as db:
        db.execute("PRAGMA busy_timeout = 50")
    holder = sqlite3.connect(store.folder / "headroom.sqlite3", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(errors.StoreUnavailable, match="keeps it locked"):
        store.create_run({})
    assert store.runs() == []  # readers do not wait for writers
    holder.execute("ROLLBACK")
    assert store.create_run({}) == 1


def test_a_read_only_file_is_reported(store):
    with store._db.read() as db:
        db.execute("PRAGMA query_only = 1")
    with pytest.raises(errors.StoreUnavailable, match="may not be written"):
        store.create_run({})


def test_unusable_folders_and_files_are_reported(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(errors.StoreUnavailable, match="HEADROOM_HOME"):
        Store(tmp_path / "file" / "home")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "headroom.sqlite3").write_text("this is no database at all, only a few words" * 100)
    with pytest.raises(errors.StoreUnavailable, match="not an SQLite file"):
        Store(tmp_path / "bad")


def test_a_store_of_a_newer_version_is_left_alone(store):
    with store._db.read() as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(errors.StoreUnavailable, match="newer Headroom.*99"):
        Store(store.folder)


def test_a_race_is_its_runs(store):
    alone = store.create_run({"seed": 9})
    race = store.create_race([{"seed": 0}, {"seed": 1}], owner="ann", title="seeds", engine="here")
    assert race == [alone + 1, alone + 2]
    assert [record.race for record in store.runs()] == [race[0], race[0], None]
    assert [record.id for record in store.runs(race=race[0])] == race[::-1]
    record = store.run(race[1])
    assert (record.spec, record.owner, record.title, record.engine) == ({"seed": 1}, "ann", "seeds", "here")
    assert store.waiting() == [alone, *race]
    store.set_status(race[0], "cancelled")
    store.delete_run(race[0])  # what is left is the same race still
    assert [record.id for record in store.runs(race=race[0])] == race[1:]


FORMAT_1 = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, spec TEXT NOT NULL, title TEXT NOT NULL, owner TEXT NOT NULL,
    status TEXT NOT NULL, created REAL NOT NULL, queued REAL NOT NULL, started REAL, finished REAL,
    error TEXT, summary TEXT NOT NULL DEFAULT '{}', engine TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0, stop_wanted INTEGER NOT NULL DEFAULT 0, last_seq INTEGER NOT NULL DEFAULT 0);
CREATE INDEX runs_by_status ON runs (status);
CREATE TABLE events (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, seq INTEGER NOT NULL, kind TEXT NOT NULL,
    time REAL NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run, seq)) WITHOUT ROWID;
CREATE INDEX events_by_kind ON events (run, kind, seq);
CREATE TABLE artifacts (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, name TEXT NOT NULL,
    time REAL NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run, name));
PRAGMA user_version = 1;
INSERT INTO runs (spec, title, owner, status, created, queued) VALUES ('{"seed": 5}', 'old', 'ann', 'queued', 1, 2);
INSERT INTO events VALUES (1, 1, 'step', 3.0, '{"kind":"step","step":7}');
"""


def test_a_store_of_an_older_format_is_brought_to_this_one(tmp_path):
    """The first format had no races."""
    (tmp_path / "old").mkdir()
    old = sqlite3.connect(tmp_path / "old" / "headroom.sqlite3")
    old.executescript(FORMAT_1)
    old.close()
    store, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    record = store.run(1)
    assert (record.spec, record.owner, record.race, record.queued) == ({"seed": 5}, "ann", None, 2.0)
    assert store.last_event(1, "step")["step"] == 7
    assert store.create_race([{}, {}]) == [2, 3] and [r.race for r in store.runs(race=2)] == [2, 2]
    assert Store(tmp_path / "old").waiting() == [1, 2, 3]  # opened again, nothing is changed twice

    def made(store):
        with store._db.read() as db:
            names = db.execute("SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY name")
            columns = db.execute("SELECT name, type, \"notnull\" FROM pragma_table_info('runs')")
            return names.fetchall(), columns.fetchall(), db.execute("PRAGMA user_version").fetchone()

    assert made(store) == made(new)
