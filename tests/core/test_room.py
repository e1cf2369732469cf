"""A room: who is who, and that nobody changes, and where the teacher says so looks at, what is somebody else's."""

from __future__ import annotations

import inspect
import stat

import pytest
from bad_uploads import picture, zipped

from peftcore import errors
from peftcore.engine import Engine
from peftcore.engine.caps import IN_A_ROOM, Caps
from peftcore.engine.room import Room, challenge, names, rules
from peftcore.engine.room import shelf as shelf_module
from peftcore.engine.room.acting import EngineAs, StoreAs
from peftcore.engine.room.progress import progress
from peftcore.engine.room.rights import Rights
from peftcore.engine.room.shelf import ShelfAs
from peftcore.fetch import places
from peftcore.fetch.curated import CURATED
from peftcore.spec import RunSpec
from peftcore.store import Store, leaderboard, listing, marks, measured, recipes, results

SPEC = RunSpec().to_dict()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def acting(room: Room, store: Store, name: str) -> StoreAs:
    """The store as somebody new in the room, or the teacher."""
    person = room.teacher if name == "Teacher" else room.enter(name)
    return StoreAs(store, Rights(room, person.id))


def test_the_same_name_twice_is_told_apart_and_a_restart_keeps_all(room, tmp_path):
    people = [room.enter(name).name for name in ("Ana", " ana\u200b ", "ＡＮＡ", "Teacher", "Ana (2)")]
    assert people == ["Ana", "ana (2)", "ANA (3)", "Teacher (2)", "Ana (2) (2)"]
    again = Room(tmp_path)
    assert (again.code, again.teacher_secret, again.key) == (room.code, room.teacher_secret, room.key)
    assert [person.name for person in again.now().people.values()] == ["Teacher", *people]
    assert stat.S_IMODE((tmp_path / "room.sqlite3").stat().st_mode) == 0o600
    for bad in ("", " \u202e ", "...", "x" * 33):
        with pytest.raises(errors.InvalidSetting):
            room.enter(bad)
    assert room.enter("Bo", account="bo@example").id == again.enter("Other", account="bo@example").id
    again.close()


def test_names_that_look_the_same_are_told_apart(room):
    for taken, lookalikes in {
        "Teacher": ("Teacher\ufe0f", "Теасher", "Teacher.", "Tea\u3164cher", "TEACHER\u2800", "Τeacher"),
        "Ana": ("Аnа", "A\u034fna", "ana!", "An\u0251", "\u13aana"),
        "Alice": ("AIice", "A1ice", "A|ice"),
        "Olga": ("0lga",),
        "The teacher": ("The teacher", "the Teacher!"),  # as pages call the owner of the machine's own runs
        "This machine": ("This machine",),
    }.items():
        assert taken in ("Teacher", *names.OF_THE_MACHINE) or room.enter(taken).name == taken
        for name in lookalikes:
            assert room.enter(name).name.rstrip(")")[-1].isdigit(), f"{name!a} passes for {taken}"
    for name in ("José", "Jose", "कि", "की", "Анна", "Ελένη", "李", "ไก่", "Việt Ễ"):
        assert room.enter(name).name == name
    piled = room.enter("Z" + "\u0336\u0337\u0338\u0335" * 6 + "o").name
    assert len(piled) == 4 and room.enter("\u202eevil\u2066").name == "evil"
    for unseen in ("\u3164", "\u115f\u1160", "\u2800"):
        with pytest.raises(errors.InvalidSetting):
            room.enter(unseen)


def test_who_was_removed_takes_no_place_and_keeps_the_name(room, monkeypatch):
    monkeypatch.setattr("peftcore.engine.room.room.MOST_PEOPLE", 3)  # the teacher is one
    crowd = [room.enter("x") for _ in range(2)]
    with pytest.raises(errors.InvalidSetting, match="This room is full"):
        room.enter("Ana")
    for one in crowd:
        room.remove(one.id)
    assert [room.enter(name).name for name in ("Ana", "x")] == ["Ana", "x (3)"]


def test_no_name_turns_what_stands_beside_it(room, store):
    run = store.create_run(SPEC)
    marks.mark(store, [run], name="a\u202eb\x85c", note="one\ntwo\u2066", tags=["t\u200fag"])
    record = store.run(run)
    assert (record.name, record.note, record.tags) == ("a b c", "one\ntwo", ("t ag",))


def test_a_code_is_read_as_people_type_it(room):
    assert names.same_code(f" {room.code.lower().replace('-', ' ')} ", room.code)
    assert not names.same_code(room.code[:-1], room.code) and not names.same_code("", room.code)
    old = room.code
    assert room.renew_code() != old == "".join(c for c in old if c in names.LETTERS + "-")


def test_what_another_process_writes_is_seen(room, tmp_path):
    other = Room(tmp_path)
    before = room.now()
    assert room.now() is before  # nothing was read again
    other.set(looking="own", message="Lunch at noon")
    assert room.now().settings.message == "Lunch at noon" and before.settings.message == ""
    with pytest.raises(errors.InvalidSetting):
        other.set(looking="everybody")
    ana = other.enter("Ana")
    room.remove(ana.id)
    assert other.person(ana.id) is None and other.now().people[ana.id].name == "Ana"
    other.remove(ana.id, on=False)
    assert room.person(ana.id)
    with pytest.raises(errors.UnknownName):
        room.remove(room.teacher.id)
    other.close()


# What reads: a person may use it, of what they may look at. All else that the store and the engine do is tried below.
STORE_READS = {"seen", "record", "run", "runs", "waiting", "events", "last_event", "get_artifact", "artifact_names",
               "artifact_sizes", "read", "folder"}  # fmt: skip
ENGINE_READS = {*EngineAs.READ, "forecast", "refusal"}


def verbs(of: object) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_") and callable(getattr(of, name, None))}


def arguments(verb, run: int) -> list[object]:
    """Something for each argument that a verb needs; a run's number where it takes one."""
    given = {"run": run, "race": run, "runs": [run], "seq": 0, "name": "adapter", "data": b"", "status": "cancelled",
             "events": [{"kind": "cancelled"}], "values": {"name": "x"}, "spec": SPEC, "specs": [SPEC]}  # fmt: skip
    needed = [p for p in inspect.signature(verb).parameters.values() if p.default is p.empty and p.kind <= 1]
    return [given.get(p.name, run) for p in needed]


def dump(store: Store) -> list[str]:
    with store.read() as db:
        return list(db.iterdump())


def test_every_verb_that_changes_something_refuses_a_stranger(room, store):
    """Found by looking at the classes: a new verb is tried, and refused, without anybody thinking of it."""
    run, gone = store.create_race([SPEC, SPEC], owner="Ana")
    store.set_status(gone, "cancelled")
    marks.delete(store, [gone])
    room.enter("Ana")
    stranger = acting(room, store, "Bo")
    engine = Engine(store)
    before = dump(store)
    tried = []
    for mine, whole, reads in ((stranger, store, STORE_READS), (EngineAs(engine, stranger), engine, ENGINE_READS)):
        for name in sorted(verbs(whole) - reads - {"submit", "submit_race"}):
            with pytest.raises(errors.NotYours):
                getattr(mine, name)(*arguments(getattr(whole, name), run))
            tried.append(name)
    assert {"cancel", "resume", "delete_run", "set_status", "put_artifact", "write", "shutdown"} <= set(tried)
    for change in (
        lambda: marks.mark(stranger, [run], name="mine"),
        lambda: marks.archive(stranger, [gone]),
        lambda: marks.restore(stranger, [gone]),
        lambda: marks.purge(stranger),
    ):
        with pytest.raises(errors.NotYours):
            change()
        assert dump(store) == before
    with pytest.raises(errors.NotYours, match="as Bo and not as Ana"):
        EngineAs(engine, stranger).submit(SPEC, owner="Ana")
    assert dump(store) == before


def test_the_owner_and_the_teacher_may_and_the_machine_may_all(room, store):
    run = store.create_run(SPEC, owner="Ana")
    own, teacher, engine = acting(room, store, "Ana"), acting(room, store, "Teacher"), Engine(store)
    assert store.run(EngineAs(engine, own).submit(SPEC)).owner == "Ana"
    assert store.run(EngineAs(engine, teacher).submit_race([SPEC, SPEC])).owner == "Teacher"
    assert EngineAs(engine, own).cancel(run)
    store.set_status(run, "cancelled")
    marks.mark(own, [run], name="first", starred=True)
    EngineAs(engine, teacher).resume(run)
    assert EngineAs(engine, teacher).cancel(run) and store.run(run).name == "first"
    store.set_status(run, "cancelled")
    marks.delete(own, [run])
    marks.restore(teacher, [run])
    of_the_machine = store.create_run(SPEC)
    with pytest.raises(errors.NotYours, match="belongs to the teacher"):
        own.want_stop(of_the_machine)
    assert teacher.want_stop(of_the_machine) and Engine(store).cancel(run) is False
    room.remove(own.rights.id)
    with pytest.raises(errors.NotYours, match="no longer in this room"):
        own.runs()


READERS = {  # of the store's modules: every public function that takes a store, called as somebody who may not look
    "listing.page": lambda s, run: listing.page(s, listing.Filter()).entries,
    "listing.facets": lambda s, run: listing.facets(s)["method"],
    "listing.alike": lambda s, run: listing.alike(s, Store(s.folder).run(run), 5),
    "leaderboard.leaderboard": lambda s, run: [
        one for one in leaderboard.leaderboard("digits", s).standings if not one.recorded
    ],
    "leaderboard.tasks": lambda s, run: set(leaderboard.tasks(s)) - set(leaderboard.tasks(Store(s.folder / "none"))),
    "measured.kept": lambda s, run: measured.kept(s, run, "x"),
    "results.results": lambda s, run: results.results(run, s),
    "run": lambda s, run: s.run(run),
    "runs": lambda s, run: s.runs(),
    "events": lambda s, run: s.events(run),
    "last_event": lambda s, run: s.last_event(run, "started"),
    "get_artifact": lambda s, run: s.get_artifact(run, "adapter"),
    "artifact_names": lambda s, run: s.artifact_names(run),
    "artifact_sizes": lambda s, run: s.artifact_sizes("adapter"),
}


def test_reading_is_refused_where_the_teacher_says_so(room, store):
    run = store.create_run(SPEC, owner="Ana")
    store.append(run, [{"kind": "started"}], {"adapter": b"x"})
    store.set_status(run, "finished", summary={"test_accuracy": 0.5})
    mine, stranger, teacher = (acting(room, store, name) for name in ("Ana", "Bo", "Teacher"))
    assert set(READERS) >= STORE_READS - {"seen", "record", "waiting", "read", "folder"}
    assert stranger.run(run).owner == "Ana"  # all look at all, as a room begins
    for looking, shown in (("own", False), ("teacher", True)):
        room.set(looking=looking)
        assert mine.run(run).id == teacher.run(run).id == run
        demo = store.create_run(SPEC, owner="Teacher")
        assert [record.id for record in stranger.runs() if record.id == demo] == ([demo] if shown else [])
        store.delete_artifact(demo, "none")
        store.set_status(demo, "cancelled")
        store.delete_run(demo)
        for name, read in READERS.items():
            try:
                found = read(stranger, run)
            except errors.NotYours:
                continue
            except errors.HeadroomError as error:
                raise AssertionError(f"{name} came as far as {error}") from error
            assert not found, f"{name} showed {found}"


def test_launching_obeys_the_teacher(room, store):
    own, engine = acting(room, store, "Ana"), Engine(store)
    mine = EngineAs(engine, own)
    for bad in ({"backbone": "hf-hub:someone/model"}, {"task": "hf:someone/images"}, {"weights": "/etc/passwd"},
                {"task": "torchvision:OxfordIIITPet"}, {"backbone": "local-dir:/tmp"}):  # fmt: skip
        with pytest.raises(errors.NotYours):
            mine.submit(SPEC | bad)
    room.set(pinned=RunSpec(method="lora").to_dict(), free=("lr", "method.rank"))
    mine.submit(RunSpec(method={"name": "lora", "rank": 2}, lr=0.1))
    others = {"epochs = ": RunSpec(method="lora", epochs=77), "pinned method = lora": RunSpec(method="last")}
    for why, other in others.items():
        with pytest.raises(errors.InvalidSetting, match=why):
            mine.submit_race([RunSpec(method="lora"), other])
    room.set(pinned=None, launching=False)
    with pytest.raises(errors.NotYours, match="closed launching"):
        mine.submit(SPEC)
    run = store.create_run(SPEC, owner="Ana")
    store.set_status(run, "cancelled")
    with pytest.raises(errors.NotYours, match="closed launching"):
        mine.resume(run)
    EngineAs(engine, acting(room, store, "Teacher")).submit(SPEC)


class Fake(list):
    """So many images of so many bytes."""

    def __init__(self, count: int, bytes: int = 0):
        super().__init__([0] * count)
        self.bytes = bytes


def test_images_belong_to_who_brought_them(room, store, monkeypatch):
    from peftcore import uploads

    gone = []
    monkeypatch.setattr(uploads, "kept", lambda: ["cats", "dogs"])
    monkeypatch.setattr(uploads, "remove", gone.append)
    ana, bo = (ShelfAs(acting(room, store, name).rights) for name in ("Ana", "Bo"))
    room.own("upload:cats", "Ana")
    with pytest.raises(errors.NotYours, match="cats, a set of uploaded images, belongs to Ana"):
        bo.remove("cats")
    with pytest.raises(errors.NotYours):
        ana.remove("dogs")  # the machine's
    room.set(looking="own")
    assert ana.kept() == ["cats"] and bo.kept() == []
    with pytest.raises(errors.NotYours):
        bo.rights.task("upload:cats?fit=crop")
    ana.rights.task("upload:cats?fit=crop")
    monkeypatch.setattr(shelf_module, "kept_set", lambda name: Fake(30, 5 * 10**6))
    monkeypatch.setenv("HEADROOM_IMAGES", "40")
    with pytest.raises(errors.InvalidSetting, match="You keep 30 uploaded images"):
        ana.keep_collected({"a": [b""] * 6, "b": [b""] * 5}, "more")
    with pytest.raises(errors.InvalidSetting, match="You keep 0 uploaded images"):
        bo.keep(Fake(41), "many")
    monkeypatch.delenv("HEADROOM_IMAGES")
    with pytest.raises(errors.InvalidSetting, match="this would add 1,971: 2,000 are allowed.*HEADROOM_IMAGES"):
        ana.keep(Fake(1971), "many")
    with pytest.raises(errors.InvalidSetting, match="keep 5 MB of .* would add 246 MB: 250 MB.*HEADROOM_KEPT_MB"):
        ana.keep(Fake(9, 246 * 10**6), "large")
    monkeypatch.setenv("HEADROOM_KEPT_MB", "5")
    with pytest.raises(errors.InvalidSetting, match="would add 2 bytes: 5 MB are allowed"):
        ana.keep_collected({"a": [b"x"], "b": [b"y"]}, "more")
    ana.remove("cats")
    assert gone == ["cats"]


def test_what_somebody_has_unpacked_counts_before_it_is_kept(room, store, tmp_path, monkeypatch):
    from peftcore import uploads

    monkeypatch.setenv("HEADROOM_KEPT_MB", "1")
    source = zipped(tmp_path, {f"{c}/{i}.png": picture(len(c) + i, size=(200, 200)) for c in "ab" for i in range(3)})
    ana, bo = (ShelfAs(acting(room, store, name).rights) for name in ("Ana", "Bo"))
    first = ana.examine(source)
    again = ShelfAs(ana.rights)  # as another page of hers has it
    refusal = "would add 72. kB: 1 MB are allowed.*HEADROOM_KEPT_MB. Of what you have, 72. kB wait on other pages"
    with pytest.raises(errors.InvalidSetting, match=refusal):
        again.examine(source)
    with pytest.raises(errors.InvalidSetting, match="wait on other pages of yours"):
        again.keep_collected({"a": [b"x" * 200_000] * 3, "b": [b"y"] * 3}, "more")
    assert [path.parent for path in uploads.survey.shelf().glob(".*/images")] == [first.folder.parent]
    bo.examine(source).discard()
    first.discard()
    second = again.examine(source)
    monkeypatch.setenv("HEADROOM_IMAGES", "11")
    monkeypatch.setenv("HEADROOM_KEPT_MB", "9")
    monkeypatch.setattr("peftcore.uploads.looking.read_pixels", lambda *_: pytest.fail("an image is decoded"))
    with pytest.raises(errors.InvalidSetting, match="You keep 6 uploaded images, and this would add 6: 11 are allowed"):
        ana.examine(source)
    assert len(again.keep(second, "mine", drop_duplicates=False)) == 6 and ana.kept() == ["mine"]
    with pytest.raises(errors.InvalidSetting, match="You keep 6 uploaded images") as refused:
        ana.examine(source)
    assert "other pages" not in str(refused.value)


def finish(store: Store, owner: str, val: float, test: float = 0.5, seconds: float = 1.0, **spec: object) -> int:
    run = store.create_run(SPEC | spec, owner=owner)
    told = [{"kind": "started", "parameters": {"method": 900, "head": 100}, "steps": 10}]
    told += [{"kind": "evaluation", "epoch": 1, "split": split, "accuracy": val} for split in ("val", "test")]
    told.append({"kind": "finished", "test_accuracy": test, "val_accuracy": val})
    store.append(run, told, {"adapter": b"x", "predictions": b"y"})
    summary = {"test_accuracy": test, "val_accuracy": val, "seconds": seconds, "memory": {"peak": 5e6}}
    store.set_status(run, "finished", summary=summary)
    return run


def test_a_challenge_ranks_by_validation_within_the_budget(room, store):
    began = store.run(finish(store, "Ana", 0.99)).finished
    challenge.begin(room, challenge.Challenge("digits", began, "seconds", 10.0))
    first, better = finish(store, "Ana", 0.7), finish(store, "Ana", 0.8)
    finish(store, "Bo", 0.9, seconds=11.0)
    same = finish(store, "Bo", 0.8)
    finish(store, "Cai", 0.95, task="letters")
    board = challenge.board(store, challenge.challenge(room))
    assert [(e.owner, e.run, e.runs, e.test) for e in board] == [("Ana", better, 2, None), ("Bo", same, 1, None)]
    costs = {budget: challenge.cost(store, store.run(first), budget) for budget in challenge.BUDGETS}
    assert costs == {"memory": 5.0, "weights": 1.0, "seconds": 1.0}
    store.append(first, [{"kind": "heads_cut", "parameters": {"method": 400, "head": 100}}])
    assert challenge.cost(store, store.run(first), "weights") == 0.5, "what trains at the end"
    past = challenge.Challenge("digits", began, ends=store.run(first).finished)
    assert past.over and [one.run for one in challenge.board(store, past)] == [first]
    for wrong in ({"budget": "money", "most": 1.0}, {"budget": "seconds"}):
        with pytest.raises(errors.InvalidSetting):
            challenge.Challenge("digits", began, **wrong)


def test_the_test_accuracy_is_sealed_until_the_teacher_reveals_it(room, store):
    """In lists, events and artifacts of participants, their own runs included, of which exports are made."""
    finish(store, "Ana", 0.7, test=0.123)
    waited = store.create_run(SPEC, owner="Ana")
    challenge.begin(room, challenge.Challenge("digits", store.run(waited).created + 1e-6))
    run = finish(store, "Ana", 0.8, test=0.456)
    ana, teacher = acting(room, store, "Ana"), acting(room, store, "Teacher")

    def shown(of: StoreAs) -> str:
        found = [of.runs(), of.run(run), listing.page(of, listing.Filter()).entries, of.events(run)]
        found += [of.last_event(run, "finished"), of.last_event(run, "evaluation")]
        return str([*found, of.artifact_names(run), of.get_artifact(run, "predictions")])

    assert "0.456" not in shown(ana) and "predictions" not in shown(ana) and "0.123" in str(ana.runs())
    assert "'split': 'test'" not in shown(ana) and ana.rights.sight() != teacher.rights.sight()
    assert "0.456" in shown(teacher) and "'split': 'test'" in shown(teacher)
    same = finish(store, "Ana", 0.7, test=0.456, task="digits?size=32")  # the same images under another name
    assert "0.456" not in str(ana.run(same)) and not challenge.challenge(room).enters(store.run(same))
    assert "0.456" in str(ana.run(finish(store, "Ana", 0.7, test=0.456, task="letters")))
    store.append(waited, [{"kind": "evaluation", "epoch": 1, "split": "test", "accuracy": 0.456}])
    assert "0.456" not in str(ana.events(waited)), "queued before it began, and working within it"
    store.set_status(waited, "finished", summary={"test_accuracy": 0.456})
    assert "0.456" not in str(ana.run(waited)) and not challenge.challenge(room).enters(store.run(waited))
    with pytest.raises(errors.NotYours, match="when the teacher reveals it"):
        ana.put_artifact(run, "predictions", b"z")
    challenge.reveal(room)
    assert "0.456" in shown(ana) and challenge.board(store, challenge.challenge(room))[0].test == 0.456
    assert {row.name: (row.val, row.best) for row in progress(store, room)}["Ana"] == (0.8, run)


SAME = {
    "digits": ("digits", "digits?size=32", "few:digits", "few:digits?shots=70"),
    "upload:cats": ("upload:cats?fit=crop",),
    "folder:cats": (
        "folder:./cats",
        "folder:cats/?seed=1",
        "folder:cats/../cats",
        "vtab:cats",
        "folder:.",
        "folder:to",
    ),
    "few:digits": ("digits",),
}
OTHERS = {"digits": ("letters", "few:letters", "folder:digits"), "folder:cats": ("folder:cats2", "folder:dogs", "gone")}


@pytest.mark.parametrize("task", SAME)
def test_a_challenge_seals_its_images_under_every_name(task, room, store, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path / "data"))
    (tmp_path / "data/cats").mkdir(parents=True)
    (tmp_path / "data/to").symlink_to("cats")
    now = challenge.Challenge(task, began=0.0)
    for same in SAME[task]:
        assert now.seals(store.run(finish(store, "Ana", 0.7, task=same))), same
    for other in OTHERS.get(task, ()):
        assert not now.seals(store.run(finish(store, "Ana", 0.7, task=other))), other


def test_where_others_fill_the_queue_somebody_without_a_waiting_run_still_gets_in():
    caps = Caps.in_a_room()
    caps.queue(0, 256, 1)
    for own, everybody, more in ((1, 256, 1), (0, 256, 2), (0, 512, 1)):
        with pytest.raises(errors.InvalidSetting, match="may wait in all"):
            caps.queue(own, everybody, more)


def test_limits_of_the_teacher_and_of_whom_they_were_lifted_for(room):
    ana = room.enter("Ana")
    caps = rules.caps_of(room)
    assert caps("Ana").waiting == 32 and caps("Teacher").waiting is None and caps("Stranger").waiting == 32
    room.lift(ana.id)
    assert caps("Ana").waiting is None and caps("Ana").running is None
    room.set(paused=True)
    assert caps("Ana").running == caps("Teacher").running == 0


def test_nobody_fills_the_disk_of_a_room_and_alone_nothing_is_capped(room, store, monkeypatch):
    ana = room.enter("Ana")
    engine = Engine(store)
    long = SPEC | {"epochs": 101}
    Engine(store).submit(long)
    engine.submit(long, owner="Ana")  # whoever uses the library
    engine.caps_of = rules.caps_of(room)
    assert max(entry["values"].get("epochs", 0) for entry in recipes.recorded()) <= IN_A_ROOM["epochs"]
    with pytest.raises(errors.InvalidSetting, match="100 epochs. Take at most 100, .* raise HEADROOM_EPOCHS"):
        engine.submit(long, owner="Ana")
    monkeypatch.setenv("HEADROOM_EPOCHS", "101")
    run = engine.submit(long, owner="Ana")
    store.put_artifact(run, "adapter", bytes(2 * 10**6))
    for megabytes in ("2", "1"):
        monkeypatch.setenv("HEADROOM_KEPT_MB", megabytes)
        if megabytes == "2":
            engine.submit(SPEC, owner="Ana")
    for ask in (lambda: engine.submit(SPEC, owner="Ana"), lambda: engine.submit_race([SPEC], owner="Ana")):
        with pytest.raises(errors.InvalidSetting, match="keep 2 MB of .* 1 MB are allowed.*raise HEADROOM_KEPT_MB"):
            ask()
    engine.submit(SPEC, owner="Teacher")
    room.lift(ana.id)
    engine.submit(SPEC | {"epochs": 102}, owner="Ana")


def test_only_curated_backbones_are_downloaded_for_a_participant(room, store, monkeypatch):
    engine, there = Engine(store), {"vit_tiny_patch16_224.augreg_in21k"}
    monkeypatch.setattr(places, "here", lambda name: name in there or name.startswith("vit_micro"))
    mine = EngineAs(engine, acting(room, store, "Ana"))
    huge = SPEC | {"backbone": "vit_huge_patch14_224"}
    with pytest.raises(errors.NotYours, match="would be downloaded"):
        mine.submit(huge)
    mine.submit(huge | {"pretrained": False})
    for known in (next(iter(CURATED)), *there):
        mine.submit(SPEC | {"backbone": known})
    EngineAs(engine, acting(room, store, "Teacher")).submit(huge)


def test_a_new_room_gives_no_name_out_again_that_has_runs(room):
    room.enter("Bo")
    room.reserve(["Ana", "", "Bo", "Teacher"])
    assert [room.enter(name).name for name in ("Ana", "ana", "Bo")] == ["Ana (2)", "ana (3)", "Bo (2)"]
    assert [one.name for one in room.now().people.values() if one.removed] == ["Ana"]
