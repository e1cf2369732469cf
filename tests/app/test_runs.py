"""The page of runs: what it shows of a run in each of its states, and what its buttons do."""

from __future__ import annotations

import re

import pytest
from drawn import figures, titles

from app import errors
from app.runs.following import MOST_POINTS, Follower
from peftcore.errors import UnknownName
from peftcore.spec import RunSpec
from peftcore.store import recipes

SPEC = RunSpec(epochs=2)
STARTED = {
    "kind": "started", "spec": SPEC.to_dict(), "method_kind": "side",
    "parameters": {"backbone": 1000, "method": 40, "head": 10},
    "steps": 26, "epochs": 2, "classes": ["0", "1"], "device": "cpu",
    "settings": {"normalisation": "backbone", "augmentation": "none", "model_selection": "last epoch",
                 "pretrained": True, "weight_decay": 0.05,
                 "weights": {"file": "/w/vit.safetensors", "sha256": "1f2e3d4c5b", "names": "",
                             "left_over": ["head.weight"], "resampled": []}},
}  # fmt: skip
MEMORY = {"frozen_weights": 6_000_000, "activations": 2_000_000}
REPORT = {
    "peak": 8_000_000,
    "components": MEMORY,
    "curve": [
        {"t": 0.0, "phase": "forward", "where": "blocks.0", **MEMORY},
        {"t": 1.0, "phase": "backward", "where": "blocks.1", **MEMORY},
    ],
}


def step(n: int, **changes) -> dict:
    return {"kind": "step", "step": n, "epoch": 1 + (n > 13), "loss": 2.0 / n, "lr": 1e-3, "grad_norm": 1.0,
            "images_per_second": 90.0, "seconds": float(n), "memory": MEMORY if n == 2 else None} | changes  # fmt: skip


def evaluation(n: int, split: str = "val", accuracy: float = 0.5) -> dict:
    return {
        "kind": "evaluation",
        "epoch": 1,
        "step": n,
        "split": split,
        "accuracy": accuracy,
        "loss": 1.0,
        "seconds": 0.1,
    }


@pytest.fixture
def run(store) -> int:
    return store.create_run(SPEC.to_dict())


def begin(store, run: int, steps: int = 0) -> None:
    store.set_status(run, "running")
    events = [STARTED, *(step(n) for n in range(1, steps + 1))]
    store.append(run, [*events, {"kind": "step_memory", "step": 2, "report": REPORT}] if steps > 1 else events)


def text(page) -> str:
    parts = [e.value for kind in ("markdown", "header", "subheader", "caption", "info") for e in getattr(page, kind)]
    return " ".join(parts).replace("\\", "")


def test_no_runs_is_an_invitation(at):
    page = at("runs")
    assert not page.error
    assert "Recorded example" in text(page)
    page.button("first_launch").click().run()
    assert page.title[0].value.startswith("Which backbone")


def test_queued_tells_what_is_before_it(at, store, run):
    second = store.create_run(SPEC.to_dict())
    page = at("runs", run=second)
    assert page.get("progress")[0].proto.text == "Queued, second of 2."
    page = at("runs", run=run)
    assert page.get("progress")[0].proto.text == "Queued; it is the next to begin."


def test_a_wait_is_foretold_from_finished_runs_and_a_recording_plays_meanwhile(at, store, engine):
    done = store.create_run(SPEC.to_dict() | {"epochs": 4})
    store.set_status(done, "running")
    store.append(done, [{"kind": "finished", "epochs": [{"seconds": 10.0}] * 4, "seconds": 50.0}])
    store.set_status(done, "finished", summary={})
    at_work, first, second = (engine.submit(SPEC) for _ in range(3))
    store.set_status(at_work, "running")
    page = at("runs", run=second)
    place, _, wait = page.get("progress")[0].proto.text.partition(", in about ")
    assert place == "Queued, second of 2" and re.fullmatch(r"\d.* to \d+ (s|min)\.", wait)
    said = next(info.value for info in page.info if "recorded example" in info.value)
    assert "not your run" in said and "LAST" in said
    page = at("launch", method=SPEC.method.name)
    assert any("It would begin in about" in m.value and "third of 3." in m.value for m in page.markdown)


def test_the_engine_that_starts_or_failed_is_named(at, engine, run):
    engine.state = "starting"
    assert "engine is starting" in at("runs", run=run).get("progress")[0].proto.text
    engine.state = "failed: Ray is missing."
    assert "Ray is missing" in at("runs", run=run).get("progress")[0].proto.text


def test_running_tells_loading_caching_then_steps(at, store, run):
    store.set_status(run, "running")
    assert "Loading PyTorch" in at("runs", run=run).get("progress")[0].proto.text
    store.append(run, [STARTED, {"kind": "progress", "what": "caching frozen features", "done": 320, "total": 1000}])
    assert at("runs", run=run).get("progress")[0].proto.text == "Caching frozen features: 320 of 1,000 images"
    store.append(run, [step(n) for n in range(1, 14)])
    page = at("runs", run=run)
    assert page.get("progress")[0].proto.text.startswith("Epoch 1 of 2, step 13 of 26")
    assert "left" in page.get("progress")[0].proto.text
    assert any(title.startswith("Loss 0.154 at step 13 of 26") for title in titles(page))


def test_a_collapse_is_named_with_what_helps(at, store, run):
    store.set_status(run, "running")
    known = STARTED | {"settings": {"images": {"val": [200, 20], "test": [200, 20]}}}
    bad = evaluation(2, accuracy=0.2) | {"epoch": 2}
    store.append(run, [known, step(1), step(2), bad, {"kind": "side_entropy", "step": 2, "epoch": 2,
                                                      "values": [0.03, 0.9, 0.05]}])  # fmt: skip
    app = at("runs", run=run)
    told = " ".join(warning.value for warning in app.warning)
    assert "**Attention collapsed.**" in told and "2 of 3 modules" in told and "qk_norm" in told
    assert "running, attention collapsed" in app.button(f"run_{run}").label
    assert any("Launch again with learning rate" in link.proto.label for link in app.get("page_link"))


def test_stop_asks_the_engine_and_leaves_a_run_that_can_be_resumed(at, store, run):
    begin(store, run, 5)
    page = at("runs", run=run)
    page.button("stop").click().run()
    assert store.run(run).status == "cancelled"
    assert "Stopped at step 5 of 26" in text(page)
    page.button("resume").click().run()
    assert store.run(run).status == "queued"


def test_finished_shows_result_settings_and_ways_on(at, store, run):
    begin(store, run, 26)
    summary = {"test_accuracy": 0.9312, "val_accuracy": 0.92, "seconds": 21.3, "memory": {"peak": 8_000_000}}
    store.append(
        run,
        [evaluation(26), evaluation(26, "test", 0.9312), {"kind": "finished", **summary, "epochs": []}],
        {"adapter": b"x"},
    )
    store.set_status(run, "finished", summary=summary)
    page = at("runs", run=run)
    assert [metric.value for metric in page.metric] == ["0.931", "50", "8 MB", "20 s"]
    assert "the backbone's normalisation, no augmentation, last epoch." in text(page)
    assert "test images chose nothing" in text(page)
    assert "Weights: vit.safetensors (sha256 1f2e3d4c), left over: head.weight." in text(page)
    assert len(figures(page)) == 5
    downloads = {button.key for button in page.download_button}
    assert {key for key in downloads if not key.startswith("numbers_")} == {"adapter", "spec"}
    assert {link.label for link in page.page_link} == {"Heads", "Attention", "Memory", "Compare", "Launch again"}
    assert any("python -m peftcore run --method last" in code.value for code in page.code)


def test_failed_is_a_sentence_with_details_on_request(at, store, run):
    begin(store, run, 3)
    store.set_status(run, "failed", error="The loss became nan at step 3 of 26. Try a lower learning rate than 5.")
    store.put_artifact(run, "traceback", b"Traceback: here")
    page = at("runs", run=run)
    assert "Try a lower learning rate" in page.error[0].value
    assert page.expander[0].label == "Details" and "Traceback: here" in page.code[0].value
    assert not page.button("resume").disabled


def test_interrupted_can_be_resumed(at, store, run):
    begin(store, run, 3)
    store.set_status(run, "interrupted", error="The app ended while this run was working. Resume it to run it again.")
    page = at("runs", run=run)
    assert "Resume it" in page.error[0].value
    page.button("resume").click().run()
    assert store.run(run).status == "queued"


def test_an_unknown_run_is_a_sentence(at, run):
    page = at("runs", run=99)
    assert "There is no run 99" in page.error[0].value and page.button(f"run_{run}")


def test_an_unknown_run_where_there_is_none_is_an_invitation_too(at):
    for address in ({"run": 99}, {"race": 99}):
        page = at("runs", **address)
        assert [one.value for one in page.error] == ["There is no run 99; it may have been deleted. "
                                                     "The list of runs shows all."]  # fmt: skip
        assert page.button("first_launch")


def test_titles_say_the_backbone_and_what_sets_runs_apart(at, store):
    runs = [store.create_run(RunSpec(method={"name": "lora", "rank": rank}).to_dict()) for rank in (4, 8)]
    page = at("runs", run=runs[0])
    title = f"LoRA on digits, {RunSpec().backbone}"
    assert f"Run {runs[0]}: {title}, rank 4" in text(page)
    assert all(
        errors.plain(f"{title}, rank {rank}") in page.button(f"run_{run}").label
        for run, rank in zip(runs, (4, 8), strict=True)
    )


def test_the_list_chooses(at, store, run):
    other = store.create_run(RunSpec(method="lora").to_dict())
    page = at("runs")
    assert f"Run {other}: LoRA on digits" in text(page)
    page.button(f"run_{run}").click().run()
    assert f"Run {run}: LAST on digits" in text(page)
    assert page.query_params["run"] == str(run)


def test_launch_again_is_a_link_to_the_same_settings(at, store):
    spec = RunSpec(method={"name": "lora", "rank": 2, "projections": ["k"]}, epochs=3)
    run = store.create_run(spec.to_dict())
    link = next(link for link in at("runs", run=run).page_link if link.label == "Launch again")
    assert {"method=lora", "lora.rank=2", "lora.projections=k", "epochs=3"} <= set(link.proto.query_string.split("&"))


def test_follower_reads_only_what_is_new_and_forgets_what_is_told_again(store, run):
    begin(store, run, 10)
    store.append(run, [evaluation(10)])
    follower = Follower().look(store, run)
    assert (follower.done, follower.total, len(follower.evaluations)) == (10, 26, 1)
    seen = follower.seq
    assert follower.look(store, run).seq == seen
    store.append(run, [step(6, loss=9.0), step(7)])  # resumed from a checkpoint after step 5
    follower.look(store, run)
    assert [s["step"] for s in follower.steps] == [1, 2, 3, 4, 5, 6, 7]
    assert follower.steps[5]["loss"] == 9.0 and follower.evaluations == []


def test_long_curves_are_thinned_and_keep_traced_steps(store, run):
    begin(store, run)
    store.append(run, [step(n, memory=MEMORY if n == 7001 else None) for n in range(1, 10_001)])
    follower = Follower().look(store, run)
    frame = follower.frame()
    assert len(frame) <= MOST_POINTS + 2 and {7001, 10_000} <= set(frame["step"])


def put(store, method="last", **changes) -> int:
    """A finished run without events."""
    run = store.create_run(RunSpec(method=method, **changes).to_dict())
    store.set_status(run, "running")
    store.set_status(run, "finished", summary={"test_accuracy": 0.5, "val_accuracy": 0.5, "seconds": 1.0, "memory": {}})
    return run


def listed(page) -> list[int]:
    return [int(button.key[4:]) for button in page.button if button.key and button.key[4:].isdigit()]


def test_a_filter_by_a_name_with_a_comma_finds_its_runs(at, store):
    name = "upload:cats?symmetries=horizontal,vertical"
    runs = [
        store.create_run({"backbone": "vit_micro", "method": {"name": "lora"}, "task": task})
        for task in (name, "digits")
    ]
    page = at("runs")
    page.session_state["runs_filters"] = True
    page.run()
    page.multiselect("runs_tasks").set_value([name]).run()
    shown = {f"pick_{run}" for run in runs if f"pick_{run}" in {one.key for one in page.checkbox}}
    assert shown == {f"pick_{runs[0]}"} and not page.error
    linked = at("runs", tasks=page.query_params["tasks"])
    assert f"pick_{runs[0]}" in {one.key for one in linked.checkbox}
    for odd in ('"', "a\nb", "x" * 200_000):
        assert not at("runs", tasks=odd).exception


def test_the_list_is_paged_searched_and_filtered_and_the_link_says_how(at, store):
    runs = [put(store, seed=nth, method="lora" if nth % 10 else "last") for nth in range(30)]
    page = at("runs", run=runs[0])
    assert listed(page) == runs[:4:-1] and "1 to 25 of 30" in text(page)
    page.button("runs_older").click().run()
    assert listed(page) == runs[4::-1] and page.query_params["list"] == "2" and page.button("runs_older").disabled
    page.text_input("runs_q").set_value("LAST").run()
    assert listed(page) == [runs[20], runs[10], runs[0]] and "list" not in page.query_params, "from the first page on"
    assert page.query_params["q"] == "LAST" and page.query_params["run"] == str(runs[0])
    page.text_input("runs_q").set_value("nothing like it").run()
    assert listed(page) == [] and "No run fits" in text(page)
    page.button("runs_show_all").click().run()
    assert len(listed(page)) == 25
    assert listed(at("runs", methods="last", q="seed=20")) == [runs[20]]
    assert listed(at("runs", list="99")) == runs[4::-1], "past the end is the end"


def test_picked_runs_are_compared_from_any_page_and_put_away_with_a_way_back(at, store):
    runs = [put(store, seed=nth) for nth in range(27)]
    page = at("runs")
    page.checkbox(f"pick_{runs[26]}").check().run()
    assert "Pick another to compare" in text(page)
    page.button("runs_older").click().run()
    page.checkbox(f"pick_{runs[0]}").check().run()
    link = next(link for link in page.page_link if link.label == "Compare 2")
    assert link.proto.query_string.replace("%2C", ",") == f"runs={runs[26]},{runs[0]}"
    page.button("delete_picked").click().run()
    assert all(store.run(run).deleted for run in (runs[0], runs[26])) and "2 runs deleted" in text(page)
    page.button("runs_undo").click().run()
    assert not any(store.run(run).deleted for run in runs) and "Undo" not in [b.label for b in page.button]
    page.button("runs_unpick").click().run()
    assert not any("pick" in text(page) for _ in "1") and not page.checkbox(f"pick_{runs[0]}").value
    page = at("runs", run=runs[5])
    page.button("archive_this").click().run()
    assert store.run(runs[5]).archived and runs[5] not in listed(page)
    assert listed(at("runs", shelf="archived")) == [runs[5]]
    store.set_status(runs[6], "queued")
    assert at("runs", run=runs[6]).button("delete_this").disabled, "what is at work is not put away"


def test_a_deleted_run_says_so_and_comes_back(at, store, run):
    from peftcore.store import marks

    store.set_status(run, "failed", error="why")
    marks.delete(store, [run])
    page = at("runs", run=run)
    assert f"Run {run} was deleted" in text(page) and listed(page) == []
    page.button("restore").click().run()
    assert store.run(run).deleted is None and listed(page) == [run]
    marks.delete(store, [run])
    page = at("runs", shelf="deleted")
    page.checkbox(f"pick_{run}").check().run()
    page.button("restore_picked").click().run()
    assert store.run(run).deleted is None and listed(page) == []


def test_what_was_deleted_long_ago_is_forgotten_when_the_app_starts(at, store, run):
    with store.write() as db:
        db.execute("UPDATE runs SET status = 'failed', deleted = 5")
    at("home")
    with pytest.raises(UnknownName):
        store.run(run)


TYPED = "<b>x</b> *y* :star: [l](http://a.b) &lt; www.a.org a@b.org $z$"


def test_what_is_typed_is_kept_and_is_no_markup(at, store, run):
    page = at("runs", run=run)
    page.text_input(f"label_name_{run}").set_value(TYPED).run()
    page.text_input(f"label_tags_{run}").set_value("thesis, a]b").run()
    page.text_area(f"label_note_{run}").set_value("<script>1</script>\n# two").run()
    page.button("star").click().run()
    kept = store.run(run)
    assert (kept.name, kept.tags, kept.note, kept.starred) == (
        TYPED,
        ("thesis", "a]b"),
        "<script>1</script>\n# two",
        True,
    )
    label = page.button(f"run_{run}").label
    for mark in ("<b>", "*y*", ":star:", "[l]", "://", "&lt;", "www.a", "a@b", "$z$"):
        assert mark not in label.replace(":orange[:material/star:]", "").replace("\\&", "&amp;"), mark
    seen = label.replace("\\", "").replace("\N{WORD JOINER}", "")
    assert TYPED in seen and "thesis" in label
    assert "&lt;script&gt;" in " ".join(str(block.proto.body) for block in page.get("html"))
    page.text_input(f"label_tags_{run}").set_value(",".join(map(str, range(13)))).run()
    assert "at most 12 tags" in page.error[0].value and store.run(run).tags == ("thesis", "a]b")


def test_another_method_brings_its_recipe_and_keeps_what_was_set_by_hand():
    from app.runs import again

    last, lora = (recipes.with_recipe(RunSpec(method=name)) for name in ("last", "lora"))
    assert last.clip and again.changed(last, "method", "lora") == lora, "nothing of LAST's recipe stays"
    mine = last.replace(epochs=3, clip=5.0, batch_size=8, lr=0.5)
    assert again.changed(mine, "method", "lora") == lora.replace(epochs=3, clip=5.0, batch_size=8)
    assert again.changed(lora, "method", "last") == last


def test_launch_again_with_one_thing_changed(at, store):
    from app.runs import again

    spec = RunSpec(method={"name": "lora", "rank": 2, "projections": ["k"]}, epochs=3, lr=0.5)
    without = {name for name in again.offered(spec) if again.suggestion(spec, name) == again._value(spec, name)}
    assert without == {"weights", "backbone", "task", "device", "weight_decay", "clip", "image_size"}
    for name in set(again.offered(spec)) - without - {"compile"}:  # every suggestion is another value that is possible
        assert again.changed(spec, name, again.suggestion(spec, name)) != spec
    run = put(store, method=spec.method.settings(), epochs=3, lr=0.5)
    page = at("runs", run=run)
    page.session_state["again"] = True  # it is opened
    page.run()
    page.selectbox(f"again_what_{run}").set_value("rank").run()
    page.text_input(f"again_rank_{run}").set_value("7").run()
    link = next(link for link in page.page_link if link.label == "Look at it first")
    assert {"lora.rank=7", "lora.projections=k", "epochs=3", "lr=0.5"} <= set(link.proto.query_string.split("&"))
    page.text_input(f"again_rank_{run}").set_value("2").run()
    assert "rank is 2 already" in text(page) and not any(b.key == "again_launch" for b in page.button)
    page.text_input(f"again_rank_{run}").set_value("7").run()
    page.button("again_launch").click().run()
    newest = store.runs(limit=1)[0]
    assert newest.id != run and RunSpec.of(newest.spec) == again.changed(spec, "rank", 7)
    assert page.query_params["run"] == str(newest.id)


def test_nan_and_plateaus_are_named_and_news_are_told_once(at, store, run):
    from app.runs import alerts

    begin(store, run, 20)
    page = at("runs", run=run)
    assert "lateau" not in text(page) + page.button(f"run_{run}").label
    store.append(run, [evaluation(n) | {"epoch": n} for n in range(21, 27)])
    page.run()
    assert "Plateau since epoch 21: in the 5 epochs after it" in text(page)
    assert "running, plateau since epoch 21" in page.button(f"run_{run}").label
    store.append(run, [{"kind": "failed", "error": "Diverged", "message": "nan"}])
    store.set_status(run, "failed", error="The loss became nan at step 26 of 26. Try a lower learning rate than 5.")
    page.run()
    page.run()
    told = page.session_state[alerts._TOLD].values()
    assert [one["title"] for one in told] == [f"Run {run} stands still since epoch 21", f"Run {run} failed, NaN"]
    assert "failed, NaN" in page.button(f"run_{run}").label


@pytest.mark.parametrize("spec", [{"method": {"name": "gone"}}, {"strange": 1}, {"method": {"name": "last", "odd": 1}}])
def test_a_run_of_another_version_is_a_sentence(at, store, spec):
    run = put(store)
    with store.write() as db:
        import json

        db.execute("UPDATE runs SET spec = ?", (json.dumps(store.run(run).spec | spec),))
    page = at("runs", run=run)
    assert f"Run {run} is of another version of Headroom" in page.warning[0].value.replace("\\", "")
    assert not page.error and "Launch again" not in [link.label for link in page.page_link]
