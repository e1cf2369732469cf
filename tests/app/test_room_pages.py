"""Pages in a room: roles, what is one's own, the teacher's page, the projector, the archive."""

from __future__ import annotations

import io
import logging
import re
import time
import zipfile

import pytest

from app import desk, state, subjects
from app.heads import measuring
from app.room import archives, entrance, greeting, noticing, overview, people, who
from app.xray import sources
from peftcore import errors
from peftcore.engine.room import archive, challenge, ending
from peftcore.store import marks


def keys(app) -> set[str]:
    return {button.key for button in app.button}


def text(app) -> str:
    kinds = (app.title, app.markdown, app.caption, app.header, app.info, app.error)
    return " ".join([str(one.value) for kind in kinds for one in kind] + [one.proto.body for one in app.get("html")])


def test_nothing_is_shown_to_who_is_not_in_the_room(at, as_, room):
    as_(None)
    shown = at("runs", run=1)
    assert shown.title[0].value == "You are no longer in this room" and len(shown.title) == 1 and not shown.button
    with pytest.raises(errors.NotYours):
        state.store()
    with pytest.raises(errors.NotYours):
        state.engine()


def test_alone_there_is_no_room(at, store):
    assert "make app HOST=0.0.0.0" in at("room").code[0].value
    assert "yours alone" in text(at("room", view="projector"))
    assert state.store().__class__.__name__ == "Store"


def test_a_run_of_somebody_else_has_no_buttons_and_no_traceback(at, as_, store, trained, caplog):
    run = trained["lora"]
    with store.write() as db:
        db.execute("UPDATE runs SET owner = 'Ana', status = 'failed', error = 'It stopped.' WHERE id = ?", (run,))
    store.put_artifact(run, "traceback", b"Traceback: secret path")
    as_("Ana")
    own = at("runs", run=run)
    assert {"resume", "star"} <= keys(own) and "secret path" not in text(own) and not own.code[0].value.startswith("Tr")
    as_("Bo")
    with caplog.at_level(logging.ERROR, "app.errors"):
        other = at("runs", run=run)
    assert not {"resume", "star", "stop"} & keys(other) and "Ana" in text(other)
    assert "secret path" not in text(other) + "".join(code.value for code in other.code)
    with pytest.raises(errors.NotYours):
        marks.mark(state.store(), [run], name="mine")
    as_("Teacher")
    taught = at("runs", run=run)
    assert any("secret path" in code.value for code in taught.code)

    def wall(page) -> list[str]:
        return [link.proto.query_string for link in page.get("page_link") if link.proto.label == "Project"]

    assert wall(taught) == [f"view=projector&shows=run&run={run}"] and not wall(other)
    greeting.room().set(looking="own")
    as_("Bo")
    hidden = at("runs", run=run)
    assert "belongs to somebody else" in text(hidden) and "It stopped" not in text(hidden)


def test_ones_own_run_stays_in_reach_in_a_busy_room(at, as_, room, store, trained):
    run, spec = trained["lora"], store.run(trained["lora"]).spec
    with store.write() as db:
        db.execute("UPDATE runs SET owner = 'Ana' WHERE id = ?", (run,))
    told, adapter = store.events(run), store.get_artifact(run, "adapter")
    for _ in range(subjects.MOST_RUNS + 1):
        other = store.create_run(spec, owner="Bo")
        store.append(other, [event for event in told if event["kind"] == "scores"][-1:], {"adapter": adapter})
        store.set_status(other, "finished", summary={"test_accuracy": 0.5})
    for _ in range(200):
        store.create_run(spec, owner="Bo")
    as_("Ana")
    for needs in ("scores", "adapter"):
        offered = [one.subject.id for one in subjects.runs(needs)]
        assert offered[0] == str(run) and len(offered) == len({*offered}) > subjects.MOST_RUNS
    assert "launched nothing" not in text(at("room"))
    as_("Teacher")
    assert str(run) not in [one.subject.id for one in subjects.runs("adapter")]
    assert sources.offered([str(run), "999999", "cat"])[-1].code == str(run), "a link still opens it"


def test_the_teacher_sees_all_and_sets_all(at, as_, room, store, engine, trained):
    ana = as_("Ana")
    run = engine.submit(store.run(trained["lora"]).spec, owner="Ana")
    short = at("room")
    assert "You are **Ana**" in text(short) and not {"room_launching", "room_stop", "room_remove"} & keys(short)
    as_("Teacher")
    page = at("room")
    table = page.dataframe[0].value
    assert list(table["name"]) == ["Ana", "This machine"] and table["now"][0] == "1 run waits"
    assert room.code in text(page)
    page.button("room_launching").click().run()
    page.button("room_stop").click().run()
    assert not room.now().settings.launching and store.run(run).status == "cancelled"
    page.button("room_lift").click().run()
    other = engine.submit(store.run(trained["lora"]).spec, owner="Ana")
    at("room").button("room_remove").click().run()
    assert store.run(other).status == "queued" and room.person(ana.id) is None
    room.remove(ana.id, on=False)
    page = at("room")
    page.checkbox(people.STOP_TOO).check().run()
    page.button("room_remove").click().run()
    assert store.run(other).status == "cancelled"
    assert room.person(ana.id) is None and room.now().people[ana.id].lifted
    rules = at("room", part="rules")
    rules.text_area("room_message").set_value("Lunch at *noon*").run()
    rules.radio("room_looking").set_value("own").run()
    assert room.now().settings.looking == "own"
    as_("Bo")
    launch = at("launch", method="last")
    assert launch.button("launch").disabled and "closed launching" in text(launch) and not launch.error
    assert "this is mended" not in text(launch)
    shown = at("home")
    assert any("Lunch at \\*noon\\*" in info.value for info in shown.info) and "has closed launching" in text(shown)


def test_a_room_ends_and_opens_again(at, as_, room, store, engine, trained):
    spec = store.run(trained["lora"]).spec
    as_("Ana")
    works, waits = (engine.submit(spec, owner="Ana") for _ in range(2))
    store.set_status(works, "running")
    with pytest.raises(errors.NotYours):
        ending.end(who.room(), state.engine())
    assert ending.ended(room) is None and room.now().settings.launching
    as_("Teacher")
    at("room", part="archive").button("room_end").click().run()
    assert {store.run(run).status for run in (works, waits)} == {"cancelled"}
    ended = at("room", part="archive")
    assert "The room ended just now" in text(ended) and {"archive_make", "room_reopen"} <= keys(ended)
    assert "room_launching" not in keys(ended)
    as_("Ana")
    with pytest.raises(errors.NotYours, match="has ended the room"):
        state.engine().submit(spec)
    home, launch = at("room"), at("launch", method="last")
    assert home.title[0].value == "The room has ended" and "archive_make" in keys(home)
    assert launch.button("launch").disabled and "ended the room" in text(launch) and not launch.error
    assert "as the teacher ended the room" in text(at("runs", run=waits))
    as_("Teacher")
    at("room").button("room_reopen").click().run()
    as_("Ana")
    assert not at("launch", method="last").button("launch").disabled
    state.engine().resume(waits)
    state.engine().cancel(waits)
    assert who.ended_with(store.run(works)) and not who.ended_with(store.run(waits))  # which its owner stopped


def test_a_page_takes_notice_of_what_may_be_launched(as_, room, monkeypatch):
    as_("Ana")
    again, seen = [], noticing._seen()
    monkeypatch.setattr(noticing.st, "rerun", lambda: again.append(1))
    noticing._look(seen)
    room.set(message="Hello")
    noticing._look(seen)
    assert not again
    room.set(launching=False)
    noticing._look(seen)
    assert again


def test_a_link_to_enter_breaks_between_its_parts_alone():
    found = entrance.readable("http://10.0.0.7:8501/enter?code=<b>")
    assert re.sub("<[^>]*>", "", found) == "http://10.0.0.7:8501/enter?code=&lt;b&gt;" and found.count("<wbr>") == 2
    assert all(part in found for part in (">http://10.0.0.7:8501<", ">/enter<"))


def test_behind_a_proxy_the_link_has_the_scheme_of_the_browser(room):
    assert greeting.link("headroom.example", "https").startswith("https://headroom.example/enter?code=")
    assert greeting.link("headroom.example").startswith("http://headroom.example/enter?code=")


def test_a_measurement_is_stopped_by_who_began_it_or_the_teacher(as_, room):
    as_("Ana")
    measurement = measuring.Measurement()
    assert measurement.is_mine
    for other, may in (("Bo", False), ("Teacher", True), (None, False), ("Ana", True)):
        as_(other)
        assert measurement.is_mine is may, other


def test_pages_of_one_person_are_one_share_of_what_pages_compute(as_, monkeypatch):
    tab = type("Tab", (), {"session_id": "1"})
    monkeypatch.setattr(desk, "get_script_run_ctx", lambda suppress_warning: tab)
    ana = as_("Ana")
    assert desk.session() == ana.id
    tab.session_id = "2"
    assert desk.session() == ana.id != as_("Bo").id


def test_who_fills_the_room_with_names_is_removed_at_once(at, as_, room, store, trained):
    for _ in range(people.MANY + 1):
        room.enter("x")
    as_("Teacher")
    at("room").button("room_remove_idle").click().run()
    assert [one.name for one in room.now().people.values() if one.removed is None] == ["Teacher"]


def test_the_recipe_of_an_earlier_version_is_pinned_as_it_is_read_today(at, as_, room, store, trained):
    spec = store.run(trained["last"]).spec
    method = {name: value for name, value in spec["method"].items() if name != "qk_norm"}
    store.create_run({name: value for name, value in spec.items() if name != "clip"} | {"method": method})
    as_("Teacher")
    page = at("room", part="rules")
    next(one for one in page.button if one.label == "Pin").click().run()
    pinned = who.settings().pinned
    assert pinned["clip"] is None and pinned["method"]["qk_norm"] is False


def test_a_challenge_is_led_by_validation_and_sealed(at, as_, room, store, trained):
    for run, name in zip(trained.values(), ("Ana", "<b>Bo</b>"), strict=True):
        as_(name)
        with store.write() as db:
            db.execute("UPDATE runs SET owner = ? WHERE id = ?", (name, run))
    as_("Teacher")
    form = at("room", part="challenge")
    form.selectbox("challenge_task").set_value("digits")
    next(one for one in form.button if one.label == "Begin the challenge").click().run()
    now = challenge.challenge(room)
    assert now.task == "digits" and now.ends - now.began == 1800
    challenge.begin(room, challenge.Challenge("digits", now.began - 3600, ends=time.time() + 900))
    as_("<b>Bo</b>")
    accuracy = f"{store.run(trained['lora']).summary['test_accuracy']:.3f}"
    page = at("runs", run=trained["lora"])
    assert next(metric for metric in page.metric if metric.label == "Test accuracy").value == "sealed"
    assert "test accuracy sealed" in text(at("home")), "the picture is of this run's heads"
    assert "when the teacher reveals it" in text(at("compare", runs=",".join(map(str, trained.values()))))
    board = at("room").dataframe[0].value
    assert set(board["name"]) == {"Ana", "<b>Bo</b>"} and "test" not in board.columns
    wall = at("room", view="projector", shows="board")
    assert "&lt;b&gt;Bo&lt;/b&gt;" in text(wall) and "<b>Bo" not in text(wall) and not wall.button
    as_("Teacher")
    at("room", part="challenge").button("challenge_reveal").click().run()
    as_("Ana")
    assert "test" in at("room").dataframe[0].value.columns
    page = at("runs", run=trained["lora"])
    assert next(metric for metric in page.metric if metric.label == "Test accuracy").value == accuracy
    room_wall, run_wall = at("room", view="projector"), at("room", view="projector", shows="run", run=trained["lora"])
    assert room.code in text(room_wall) and not room_wall.button and "Ana" in text(room_wall)
    assert f"Run {trained['lora']}: what did it learn?" in text(run_wall)


def test_the_archive_holds_what_its_owner_may_see(as_, room, store, trained, tmp_path):
    with store.write() as db:
        db.execute("UPDATE runs SET owner = '=Ana' WHERE id = ?", (trained["lora"],))
    as_("=Ana")
    challenge.begin(room, challenge.Challenge("digits", time.time() - 3600))
    path, told = archives.file("ana"), []
    assert archive.write(state.store(), path, "=Ana", tell=lambda *at: told.append(at)) == 1
    packed = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    assert not any(name.startswith(("/", ".")) or "=" in name for name in packed.namelist()), packed.namelist()
    names = {name.rpartition("/")[2] for name in packed.namelist()}
    assert names == {"spec.json", "summary.json", "curves.csv", "adapter.safetensors", "runs.csv"}
    assert "'=Ana" in packed.read("runs.csv").decode() and told == [(0, 1), (1, 1)]
    summary = next(packed.read(name) for name in packed.namelist() if name.endswith("summary.json"))
    assert b"test_accuracy" not in summary and b"val_accuracy" in summary
    assert b"test_accuracy" not in b"".join(packed.read(n) for n in packed.namelist() if n.endswith("curves.csv"))
    as_("Teacher")
    assert "\n'=Ana," in overview.csv().decode()
    assert archive.write(state.store(), archives.file("room"), room=room) == 2
    whole = zipfile.ZipFile(archives.file("room"))
    assert {"challenge.csv", "runs.csv"} <= set(whole.namelist())
    assert sum(name.endswith("predictions.npz") for name in whole.namelist()) == sum(
        "predictions" in store.artifact_names(run) for run in trained.values()
    )

    def stop(*_: int) -> None:
        raise archive.Stopped

    with pytest.raises(archive.Stopped):
        archive.write(state.store(), tmp_path / "stopped.zip", tell=stop)
    assert not list(tmp_path.glob("stopped*"))


def test_a_folder_is_named_after_a_person_wherever_it_is_unpacked():
    names = [archive._safe(name) for name in ("Ana (2)", "../../etc", "a/b\\c:d", "...", "", "Björn", "=1+1")]
    assert names == ["Ana (2)", "_etc", "a_b_c_d", "_", archive.MACHINE, "Björn", "_1_1"]
