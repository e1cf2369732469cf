"""Bringing one's own images: from the drop to the launch page. tests/browser does it in a browser."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import streamlit as st
from bad_uploads import good, picture, tarred, zipped
from drawn import figures

from app import desk as desk_module
from app.launch import task_choice
from app.uploads import page, survey_view
from peftcore import uploads
from peftcore.task import load_task
from peftcore.uploads.sets import kept_set


def text(app) -> str:
    told = [app.header, app.markdown, app.caption, app.info, app.error, app.success]
    return "\n".join(element.value for elements in told for element in elements)


def examples(app) -> str:
    return "\n".join(part.proto.body for part in app.get("html"))


def drop(app, *paths: Path):
    """Uploads files and waits, as the page does, until they are examined."""
    app.file_uploader(key="upload_archive_0").set_value([(path.name, path.read_bytes(), "") for path in paths])
    app.run()
    assert not app.exception, app.exception
    return app


def test_an_archive_is_looked_at_kept_and_launched(at, tmp_path):
    app = at("tasks", view="upload")
    assert "Nothing is kept before you say so" in text(app) and len(app.code) == 3 and not app.error
    app = drop(app, tarred(tmp_path, good("abc", 6), "three.tar.gz"))
    assert "three.tar.gz: 18 images in 3 classes" in text(app) and not uploads.kept()
    assert "all 6 × 5 pixels" in text(app) and len(figures(app)) == 1 and not app.checkbox
    app.select_slider(key="upload_test").set_value(0.3).run()
    app.text_input(key="upload_name").set_value("My three!").run()
    app.button(key="upload_keep").click().run()
    assert "Its task is `upload:my-three?test=0.3`" in text(app) and uploads.kept() == ["my-three"]
    assert len(load_task("upload:my-three?test=0.3").test) == 5
    assert "18 images, 3 classes" in text(app) and app.file_uploader, "the next set can be dropped at once"
    launch = at("launch", task="upload:my-three?test=0.3")
    assert launch.selectbox(key="launch_task").value == "upload:my-three?test=0.3" and not launch.error


def test_what_cannot_be_used_is_named_and_needs_consent(at, tmp_path):
    files = good() | {"a/bad.png": b"x", "a/9.png": picture(0), "b/9.png": picture(0)}
    app = drop(at("tasks", view="upload"), zipped(tmp_path, files))
    assert app.dataframe[0].value.to_dict("records") == [
        {"file": "a/bad.png", "why": "it is not an image that can be read"}
    ]
    assert app.button(key="upload_keep").disabled
    app.checkbox(key="upload_consent").check().run()
    assert not app.button(key="upload_keep").disabled
    app.button(key="upload_keep").click().run()
    kept = kept_set("set")
    assert len(kept) == 7 and kept.left_out == 4  # the broken one, and three files of one image with two labels


def test_what_is_refused_is_a_sentence_and_nothing_stays(at, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"no archive at all" * 50)
    app = drop(at("tasks", view="upload"), tmp_path / "x.zip")
    assert "is not an archive that can be read" in app.error[0].value and not list((tmp_path / "images").iterdir())
    app.button(key="upload_again").click().run()
    assert app.file_uploader and not app.error


def test_one_image_alone_is_sent_to_the_probes(at, tmp_path):
    (tmp_path / "cat.png").write_bytes(picture(1))
    app = drop(at("tasks", view="upload"), tmp_path / "cat.png")
    assert "single image" in app.error[0].value and "Look through a run" in [
        link.label for link in app.get("page_link")
    ]


def test_how_images_become_square_is_chosen_and_shown(at, tmp_path):
    app = drop(at("tasks", view="upload"), zipped(tmp_path, good("ab", 6)))
    stretched = examples(app)
    app.segmented_control(key="upload_fit").set_value("crop").run()
    assert examples(app) != stretched
    app.button(key="upload_keep").click().run()
    assert "`upload:set?fit=crop`" in text(app)
    assert load_task("upload:set?fit=crop").train.images.fit == "crop"
    assert task_choice.brought() == ["upload:set?fit=crop"], "what was chosen with the set goes with it"


def test_what_was_kept_and_is_deleted_leaves_the_page_whole(at, tmp_path):
    app = drop(at("tasks", view="upload"), zipped(tmp_path, good()))
    app.button(key="upload_keep").click().run()
    app.button(key="upload_delete_set").click().run()
    assert not app.error and not app.success and app.file_uploader and not uploads.kept()


def test_loose_files_and_their_table_are_a_set(at, tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(picture(i))
    (tmp_path / "labels.csv").write_text("".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(8)))
    app = drop(at("tasks", view="upload"), *(tmp_path / f"{i}.png" for i in range(8)), tmp_path / "labels.csv")
    assert "9 files: 8 images in 2 classes" in text(app) and "Labels are from 'labels.csv'" in text(app)
    app.button(key="upload_discard").click().run()
    assert app.file_uploader and not uploads.kept() and not list((tmp_path / "images").iterdir())


def test_a_set_that_a_run_is_to_read_is_not_deleted(at, store, tmp_path):
    for name in ("used", "free"):
        uploads.keep(uploads.examine(zipped(tmp_path, good())), name)
    run = store.create_run({"task": "upload:used?seed=1", "method": {"name": "lora"}})
    app = at("tasks", view="upload")
    assert f"Run {run} trains on these images" in app.warning[0].value
    app.button(key="upload_delete_free").click().run()
    page._remove("used")
    assert uploads.kept() == ["used"]
    store.set_status(run, "cancelled")
    page._remove("used")
    assert not uploads.kept()


def test_the_owner_of_images_waits_for_nobody_elses_waiting_run(at, as_, room, store, tmp_path):
    uploads.keep(uploads.examine(zipped(tmp_path, good())), "annas")
    room.own("upload:annas", "Ana")
    as_("Ana")
    for owner, says in (("Bert", "Bert's run 1 .* ask Bert or the teacher to stop it"), ("", "The teacher's run 2 ")):
        run = store.create_run({"task": "upload:annas", "method": {"name": "lora"}}, owner=owner)
        app = at("tasks", view="upload")
        assert not app.warning and "still wait for it will fail" in text(app)
        store.set_status(run, "running")
        assert re.search(says, at("tasks", view="upload").warning[0].value)
        page._remove("annas")
        assert uploads.kept() == ["annas"]
        store.set_status(run, "cancelled")
    own = store.create_run({"task": "upload:annas", "method": {"name": "lora"}}, owner="Ana")
    assert f"Run {own} trains on these images; stop it first." in at("tasks", view="upload").warning[0].value
    store.set_status(own, "cancelled")
    store.create_run({"task": "upload:annas", "method": {"name": "lora"}}, owner="Bert")
    at("tasks", view="upload").button(key="upload_delete_annas").click().run()
    assert not uploads.kept()


def test_unpacking_ends_at_what_a_person_in_a_room_may_keep(at, as_, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_KEPT_MB", "1")
    as_("Ana")
    files = {f"{c}/{i}.png": picture(i, size=(200, 200)) for c in "ab" for i in range(6)}
    app = drop(at("tasks", view="upload"), zipped(tmp_path, files))
    assert "1 MB are allowed" in app.error[0].value and not list((tmp_path / "images").iterdir())


def test_one_persons_uploads_leave_a_place_to_others(monkeypatch):
    """Ana has many large ones on her pages, some of which she stops; Bert's is looked at all the same."""
    now, gate, begun, desk = ["ana"], threading.Event(), [], desk_module.Desk(page.AT_ONCE)
    monkeypatch.setattr(desk_module, "session", lambda: now[0])
    monkeypatch.setattr(page, "_desk", lambda: desk)

    def find(shelf, source, tell):
        begun.append(source.name)
        while source.name.startswith("large") and not gate.wait(0.01):
            tell("Looking at every image", 0.5)
        return SimpleNamespace(survey=SimpleNamespace(discard=lambda: begun.append("discarded")))

    def begin(name):
        page._begin([SimpleNamespace(name=name)])
        return st.session_state[page.WORK]

    def until(is_so, *waiting):
        end = time.monotonic() + 30
        while not is_so() and time.monotonic() < end:
            for work in waiting:
                work.job.look()
            time.sleep(0.01)
        assert is_so()

    monkeypatch.setattr(survey_view, "find", find)
    try:
        hers = [begin(f"large {number}") for number in range(4)]
        until(lambda: hers[0].share == 0.5, *hers)
        now[0] = "bert"
        his = begin("small")
        his.job.result(30)
        assert begun == ["large 0", "small"] and hers[1].what == "Waiting for other uploads"
        until(lambda: not hasattr(his.job, "work"))  # an upload is in memory only until it is looked at
        page._reset()
        assert begun[-1] == "discarded"
        now[0] = "ana"
        st.session_state[page.WORK] = hers[0]
        page._reset()  # she stops the one at work, and the next one begins
        until(lambda: "large 1" in begun, hers[1])
        assert not hers[0].job.done()
    finally:
        gate.set()
