"""Try it: an image under several runs, and classes taught from a few pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from drawn import figures
from PIL import Image

from app import background, heavy, subjects
from app.try_it import answers, images, learning, named, teaching
from peftcore import uploads
from peftcore.errors import BadData
from peftcore.store import results
from peftcore.store.gallery import record


def png(shade: int | None = None, size: tuple[int, int] = (20, 30)) -> io.BytesIO:
    rng, out = np.random.default_rng(shade), io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(out, "PNG")
    out.seek(0)
    return out


def text(page) -> str:
    parts = [e.value for kind in ("markdown", "caption", "info", "warning", "error") for e in getattr(page, kind)]
    return " ".join(parts).replace("\\", "")


def test_an_image_of_one_s_own_under_two_runs(at, trained):
    image = "own-" + uploads.keep_picture(png(1))
    page = at("try_it", runs=f"{trained['lora']},{trained['last']}", image=image)
    assert len(figures(page)) == 4, "classes and attention of each"
    assert "Your image" in text(page) and not page.error


def test_an_answer_is_what_the_run_predicted_in_its_test(at, trained, store):
    for run in trained.values():
        kept = results.results(run, store)
        subject = subjects.run(subjects.named(str(run)))
        found = answers.ask(subject, named.of_test("digits", 5)).result()
        np.testing.assert_allclose(found.probabilities, kept.probabilities[5], atol=2e-3)
        assert found.gaze.map.shape == (8, 8)
        assert found.gaze.map.sum() + found.gaze.prefix == pytest.approx(1, abs=1e-4)


def test_a_swin_has_no_map_and_says_so(at):
    page = at("try_it", runs="heart-orientation", **{"from": "test"}, image=named.of_test("orientation", 0))
    assert "attends within windows" in text(page) and not page.error
    label = record("heart-orientation")["events"][0]["classes"]
    assert len(label) == 12 and "Test image 0 of Koi heading" in text(page)


def test_what_a_link_names_and_is_not_there_is_a_sentence(at, trained, recorded, store):
    for image, says in (
        ("own-0000000000000000", "no longer kept"), ("test-9999-digits", "test images 0 to 796"),
        ("x", "There is no image called"),
    ):  # fmt: skip
        page = at("try_it", runs=trained["last"], image=image)
        assert says in text(page) and not page.exception
    page = at("try_it", runs=f"{trained['last']},99")
    assert "There is no run 99" in text(page)
    waiting = store.create_run(recorded["lora"][0])
    for runs in (waiting, f"{waiting},{trained['last']}"):
        page = at("try_it", runs=runs)
        assert "has not come to its end" in text(page) and "other classes" not in text(page) and not page.exception
    assert "Choose up to 4 runs" in text(at("try_it", runs="none"))


def test_a_heavy_backbone_is_loaded_when_it_is_asked_for(at, trained, monkeypatch):
    monkeypatch.setattr(heavy.embedded, "names", lambda: ())
    monkeypatch.setattr(heavy, "needed", lambda name: background.settled(10_000_000_000))
    monkeypatch.setattr(heavy, "free", lambda: 1_000_000)
    page = at("try_it", runs=trained["last"])
    assert "So it is not loaded here" in text(page) and not figures(page)
    monkeypatch.setattr(heavy, "free", lambda: 20_000_000_000)
    page.run()
    assert not figures(page)
    page.button("try_it_0_load").click().run()
    assert len(figures(page)) == 2


@pytest.mark.parametrize("address", ["", "data:image/png;base64,", "data:image/png;base64,AAAA", "data:x;base64,%%"])
def test_what_is_pasted_and_no_image_is_a_sentence(store, address):
    with pytest.raises(BadData, match="cannot be used"):
        uploads.keep_picture(images.decoded(address))
    whole = "data:image/png;base64," + base64.b64encode(png(3).getvalue()).decode()
    assert uploads.keep_picture(images.decoded(whole)) == uploads.keep_picture(png(3))


def lesson(pictures: int = 4) -> teaching.Lesson:
    shown = teaching.Lesson([teaching.Shown(0, "<b>cat</b>"), teaching.Shown(1, "dog*")])
    for nth, one in enumerate(shown.classes):
        shown.take(one, [png(100 * nth + n) for n in range(pictures)])
    return shown


def test_a_lesson_says_what_is_missing():
    shown = lesson(2)
    assert shown.missing().startswith("<b>cat</b> needs 1 more picture;")
    shown.take(shown.classes[0], [png(7), io.BytesIO(b"hello")])
    assert "cannot be used" in shown.faults[0] and len(shown.classes[0].files) == 3
    shown.classes[1].name = "<b>cat</b>"
    assert "Two classes are called" in shown.missing()
    shown.classes[1].name = "  "
    assert shown.missing() == "Each class needs a name."
    shown.take(shown.classes[0], [png(n) for n in range(teaching.MOST_PICTURES)])
    assert len(shown.classes[0].files) == teaching.MOST_PICTURES and "takes 60" in shown.faults[0]


def test_teaching_is_a_real_run_that_is_tried_at_once(at, trained, recorded, store, engine, monkeypatch):
    page = at("try_it", view="teach")
    assert page.button("teach_go").disabled and "needs 3 more pictures" in text(page)
    page.session_state[teaching.STATE] = lesson()
    page.run()
    assert not page.button("teach_go").disabled
    assert page.segmented_control(key="teach_class").options == [r"\<b\>cat\</b\>", r"dog\*"], "names are no markup"

    def submit(spec, **_):
        """Runs at once, as the recorded one ran."""
        run = store.create_run(spec.to_dict())
        _, told, artifacts, summary = recorded["last"]
        store.append(run, told, artifacts)
        store.set_status(run, "finished", summary=summary)
        return run

    monkeypatch.setattr(engine, "submit", submit)
    page.button("teach_go").click().run()
    run = store.runs(limit=1)[0]
    assert run.spec["task"].startswith("upload:b-cat-b-dog") and run.spec["method"]["name"] == "last"
    assert (page.query_params["runs"], page.query_params["from"]) == (str(run.id), "camera")
    assert not page.exception and f"Run {run.id}" in page.page_link[0].label


def test_what_may_not_be_launched_is_said_first_and_keeps_no_pictures(at, as_, room, store):
    as_("Ana")

    def taught():
        page = at("try_it", view="teach")
        page.session_state[teaching.STATE] = lesson()
        return page.run()

    room.set(launching=False)
    page = taught()
    assert page.button("teach_go").disabled and "closed launching" in text(page)
    pinned = learning.spec("digits", "vit_micro").to_dict()
    room.set(launching=True, pinned=pinned | {"batch_size": 4})
    page = taught()
    assert page.button("teach_go").disabled and "pinned batch_size" in text(page)
    room.set(pinned=pinned)  # all but the task, which is only known once the pictures are kept
    page = taught()
    page.button("teach_go").click().run()
    assert "pinned task" in text(page) and not uploads.kept() and not store.runs()


def test_a_lesson_that_failed_says_why_and_leads_back(at, store):
    run = store.create_run({"method": {"name": "last"}, "task": "digits"})
    store.set_status(run, "failed", error="The disk is full.")
    page = at("try_it", view="teach", learning=run)
    assert "The disk is full." in text(page)
    page.button("teach_back").click().run()
    assert page.button("teach_go").disabled
