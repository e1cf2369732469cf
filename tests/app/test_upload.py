"""Bringing one's own images: from the drop to the launch page. tests/browser does it in a browser."""

from __future__ import annotations

from pathlib import Path

from bad_uploads import good, picture, tarred, zipped
from drawn import figures

from app.launch import task_choice
from app.uploads import page
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
