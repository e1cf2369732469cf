"""Links that name too many runs, one run twice, somebody else's images, or a set that is another one by now."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from app import cached, state, versions
from app.compare import view
from peftcore import errors
from peftcore.fetch import places
from peftcore.store import marks


def text(page) -> str:
    kinds = (page.error, page.warning, page.caption, page.markdown, page.info)
    return " ".join(str(one.value) for kind in kinds for one in kind).replace("\\", "")


def pictures(colour: int, *names: str) -> dict[str, list[bytes]]:
    found = {}
    for nth, name in enumerate(names):
        found[name] = []
        for i in range(8):
            made, pixels = io.BytesIO(), np.full((12, 12, 3), colour + 9 * nth + i, np.uint8)
            Image.fromarray(pixels).save(made, "PNG")
            found[name].append(made.getvalue())
    return found


# ---------------------------------------------------------------------------------------- runs that a link names


def copies(store, recorded, count: int) -> list[str]:
    spec, told, artifacts, summary = recorded["lora"]
    made = []
    for _ in range(count):
        run = store.create_run(spec)
        store.set_status(run, "running")
        store.append(run, told, artifacts)
        store.set_status(run, "finished", summary=summary)
        made.append(str(run))
    return made


def test_more_runs_than_are_compared(at, store, recorded):
    runs = copies(store, recorded, view.MOST + 2)
    page = at("compare", runs=",".join(runs))
    assert page.multiselect(key="compare_runs").value == runs[: view.MOST]
    assert f"At most {view.MOST} runs are compared" in text(page) and not page.error


def test_more_runs_than_answer(at, store, recorded):
    runs = copies(store, recorded, 6)
    page = at("try_it", runs=",".join(runs))
    assert page.multiselect(key="try_it_runs").value == runs[:4] and "At most 4 runs" in text(page)


def test_a_run_that_is_named_twice_is_one(at, store, trained):
    lora, last = str(trained["lora"]), str(trained["last"])
    queued = str(store.create_run(store.run(trained["lora"]).spec))
    marks.delete(store, [trained["last"]])
    for named in (f"{queued},{queued}", f"{last},{last},{lora}", f"0{lora},{lora},00{lora}"):
        page = at("compare", runs=named)
        assert not page.error, text(page)
        assert len(page.multiselect(key="compare_runs").value) == len({int(run) for run in named.split(",")})
    assert text(at("heads", run=f"00{lora}")) == text(at("heads", run=lora))


def test_a_cost_that_is_not_known_is_no_secret(at, store, recorded):
    spec, told, artifacts, summary = recorded["lora"]
    runs = []
    for seed in (5, 6):
        run = store.create_run(spec | {"seed": seed})
        store.set_status(run, "running")
        store.append(run, told, {name: blob for name, blob in artifacts.items() if name != "adapter"})
        store.set_status(run, "finished", summary=summary | {"memory": {}})
        runs.append(str(run))
    for cost, name in (("stored", "stored bytes"), ("memory", "peak memory")):
        said = text(at("compare", runs=",".join(runs), cost=cost))
        assert f"None of these runs has a known {name}" in said and "teacher" not in said


def test_a_tag_may_be_called_none(at, store, trained):
    for method, name in (("lora", "alpha"), ("last", "omega")):
        marks.mark(store, [trained[method]], name=name)
    assert {"alpha", "omega"} <= {*re.findall("alpha|omega", str(at("runs", tags="none")._tree))}, "an older link"
    marks.mark(store, [trained["lora"]], tags=["none"])
    assert {*re.findall("alpha|omega", str(at("runs", tags="none")._tree))} == {"alpha"}


# ------------------------------------------------------------------------------------------ images that a link names


def test_nobody_sees_somebody_elses_images_by_a_link_to_a_test_image(at, as_, room, trained):
    as_("Ben")
    kept = state.shelf().keep_collected(pictures(10, "private one", "private two"), "secret")
    room.set(looking="own")
    as_("Ana")
    page = at("try_it", **{"from": "test", "image": f"test-0-{kept.task}"})
    assert "private" not in str(page._tree) and "try_it_strip" not in str(page._tree)
    gone = text(at("try_it", **{"from": "test", "image": "test-0-upload:nothere"}))
    assert "secret" not in gone


def test_a_set_that_is_kept_under_the_name_of_a_deleted_one_is_shown_everywhere(at):
    kept = state.shelf().keep_collected(pictures(10, "red1", "red2"), "pets")
    for page in ("tasks", "launch"):
        at(page, task=kept.task)
    assert cached.task(kept.task).classes == ("red1", "red2")
    before = versions.of(kept.task)
    state.shelf().remove(kept.name)
    assert versions.of(kept.task) == 0
    again = state.shelf().keep_collected(pictures(200, "blue1", "blue2", "blue3"), "pets")
    assert again.task == kept.task and versions.of(again.task) != before
    assert cached.task(kept.task).classes == ("blue1", "blue2", "blue3")
    assert "3 classes" in text(at("tasks", task=kept.task))
    assert f"{3 * 129} in the classifier" in text(at("launch", task=kept.task)), "129 weights for each class"


# --------------------------------------------------------------------------------------------------- what is said


def test_the_texts_of_a_race_are_no_markup(at):
    typed = "![p](https://evil.example/p.png)[Sign in](https://evil.example)"
    page = at("launch", race="select", **{"race.select": typed})
    group = next(one for one in page.button_group if one.key == "race.select")
    assert not [option.content for option in group.proto.options if "](https" in option.content.replace("\\]", "")]


def test_a_recording_says_that_it_has_no_weights_on_every_page(at):
    for page in ("attention", "attribution"):
        assert "keeps this run's scores, not its weights" in text(at(page, run="cells-heart_lora-swin_micro-0"))


def test_what_comes_with_headroom_is_read_where_no_folder_may_be_named(tmp_path, monkeypatch):
    from peftcore.backbone import embedded

    monkeypatch.setenv("HEADROOM_DATA", "none")
    earlier = next((embedded.BACKBONES / "vit_micro" / "earlier").glob("*.safetensors"))
    assert places.weights_file(earlier) == earlier
    with pytest.raises(errors.BadData, match="HEADROOM_DATA"):
        places.weights_file(tmp_path / "w.safetensors")
