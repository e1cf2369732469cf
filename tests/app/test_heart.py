"""Heart-LoRA in the app: how many heads will go, the cut while it runs, and a mask that a reader made by clicks."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from drawn import click, figures

from app import forms, libraries, subjects
from app.heads import edit_mask
from app.runs.following import Follower
from peftcore.figures.words import human_count
from peftcore.spec import RunSpec
from peftcore.task import Split


@pytest.fixture(autouse=True, scope="module")
def loaded():
    libraries.load()


@pytest.fixture(scope="session")
def heart() -> tuple[dict, list[dict], dict[str, bytes], dict]:
    """A real run of four steps, cut after the second: spec, events, artifacts, summary."""
    import torch

    from peftcore.engine.job import SUMMARY
    from peftcore.engine.worker import artifacts_of
    from peftcore.train import loop

    torch.set_num_threads(1)
    whole = loop.load_task("digits")
    parts = {name: getattr(whole, name) for name in ("train", "val", "test")}
    few = {name: Split(part.images[:24], part.labels[:24]) for name, part in parts.items()}
    method = {"name": "heart_lora", "rank": 4, "warmup_share": 0.5, "scope": "layer"}
    spec, told, artifacts = RunSpec(method=method, epochs=2, batch_size=12, lr=0.01, pretrained=False), [], {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_task", lambda name: replace(whole, **few))
        for event in loop.finetune(spec):
            told.append(event.to_dict())
            artifacts |= artifacts_of(event)
    return spec.to_dict(), told, artifacts, {name: told[-1][name] for name in SUMMARY}


@pytest.fixture
def run(store, heart) -> int:
    spec, told, artifacts, summary = heart
    number = store.create_run(spec)
    store.set_status(number, "running")
    store.append(number, told, artifacts)
    store.set_status(number, "finished", summary=summary)
    return number


def text(page) -> str:
    parts = [e.value for kind in ("markdown", "subheader", "caption", "info") for e in getattr(page, kind)]
    return "\n".join(parts).replace("\\", "")


def chart(page, start: str) -> dict:
    return next(figure for key, figure in figures(page).items() if key.startswith(start))


def title(figure: dict) -> str:
    return figure["layout"]["title"]["text"]


def mask_of(page) -> list[list[int]]:
    """What is crossed in the grid to click on."""
    crossed = [trace for trace in chart(page, "heads_mask")["data"] if trace["name"] == "switched off"][-1]
    off = [[] for _ in range(8)]
    for x, y in zip(numbers(crossed["x"]), numbers(crossed["y"]), strict=True):
        off[int(y)].append(int(x))
    return off


def numbers(column) -> list:
    """A column of a figure; Plotly writes arrays in base64."""
    if isinstance(column, dict):
        import base64

        return np.frombuffer(base64.b64decode(column["bdata"]), column["dtype"]).tolist()
    return list(column)


# Before the run


def test_the_form_tells_how_many_heads_will_go(at):
    page = at("launch", method="heart_lora")
    assert title(chart(page, "launch_heads_off")) == "24 of 64 heads will be switched off"
    assert "3 of 8 heads in each of 8 layers." in text(page) and "the same in all layers" in text(page)
    page.text_input("heart_lora.percent_off").set_value("75").run()
    assert title(chart(page, "launch_heads_off")).startswith("48 of 64")
    page.text_input("heart_lora.n_off").set_value("1").run()
    assert title(chart(page, "launch_heads_off")).startswith("8 of 64")
    page.selectbox("heart_lora.scope").select("layer").run()
    assert "each layer its own" in text(page)


def test_the_cut_s_step_follows_the_recipe(at):
    page = at("launch", method="heart_lora", epochs=20, batch_size=100)
    steps = 20 * 8  # digits trains on 800 images
    assert f"after step {steps // 10} of {steps}" in text(page)


def test_swin_is_told_stage_by_stage(at):
    page = at("launch", method="heart_lora", backbone="swin_tiny_patch4_window7_224")
    assert "In each layer: 1 of 3, 2 of 6, 5 of 12, 10 of 24 heads, stage by stage." in text(page)
    assert title(chart(page, "launch_heads_off")).startswith("56 of ")
    labels = chart(page, "launch_heads_off")["layout"]["yaxis"]["ticktext"]
    assert labels == ["stage 1, 2 layers", "stage 2, 2 layers", "stage 3, 6 layers", "stage 4, 2 layers"]


def test_more_heads_than_there_are_is_a_sentence_and_no_preview(at):
    page = at("launch", method="heart_lora", **{"heart_lora.n_off": 8})
    assert len(page.error) == 1 and "n_off 8 leaves no head" in page.error[0].value.replace("\\", "")
    assert not any(key.startswith("launch_heads_off") for key in figures(page))
    page.run()
    assert page.button("launch").disabled


def test_a_method_that_switches_nothing_off_has_no_preview(at):
    assert not any(key.startswith("launch_heads_off") for key in figures(at("launch", method="bi_lora")))


# In the run


def test_the_run_tells_of_its_cut(at, run, heart):
    page = at("runs", run=run)
    assert "After step 2, 24 of 64 heads were switched off: the least responsive by taylor." in text(page)
    loss = chart(page, f"loss_{run}")
    assert [a["text"] for a in loss["layout"]["annotations"]] == ["heads cut"]
    assert {(shape["x0"], shape["x1"]) for shape in loss["layout"]["shapes"]} == {(2, 2)}
    assert [frame["name"] for frame in chart(page, f"scores_{run}")["frames"]] == ["1", "2"]
    assert title(chart(page, f"cut_{run}")).startswith("24 of 64 heads switched off")
    crossed = [trace for trace in chart(page, f"cut_{run}")["data"] if trace["name"] == "switched off"]
    assert len(numbers(crossed[0]["x"])) == 24 and not page.error
    trained = next(metric for metric in page.metric if metric.label == "Trained weights")
    start, after = (next(e["parameters"] for e in heart[1] if e["kind"] == k) for k in ("started", "heads_cut"))
    assert after["method"] < start["method"] and trained.value == human_count(after["method"] + after["head"])
    help_text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", trained.help)  # without its links into the glossary
    assert f"Before heads were switched off, {start['method']:,} in the method." in help_text


def test_the_warm_up_shows_scores_and_no_mask(at, store, heart):
    spec, told, _, _ = heart
    number = store.create_run(spec)
    store.set_status(number, "running")
    first = next(i for i, event in enumerate(told) if event["kind"] == "scores")
    store.append(number, told[: first + 1])
    page = at("runs", run=number)
    assert "Warm-up: heads are scored, and switched off after 50 % of 4 steps." in text(page)
    keys = set(figures(page))
    assert f"scores_{number}" in keys and f"cut_{number}" not in keys
    page = at("heads", run=number)
    assert "has not come to its cut yet" in text(page) and sum(mask_of(page), []) == []


def test_a_resumed_run_forgets_a_cut_that_it_tells_again(store, run, heart):
    follower = Follower(kinds=("started", "step", "scores", "heads_cut")).look(store, run)
    assert follower.cut["step"] == 2 and [e["step"] for e in follower.scores] == [1, 2]
    again = next(event for event in heart[1] if event["kind"] == "step" and event["step"] == 2)
    store.append(run, [again])
    follower.look(store, run)
    assert follower.cut is None and [e["step"] for e in follower.scores] == [1]


# Overruling it


def cut_of(heart) -> list[list[int]]:
    return next(event["off"] for event in heart[1] if event["kind"] == "heads_cut")


def test_the_heads_page_crosses_what_was_cut(at, run, heart):
    page = at("heads", run=run)
    assert page.selectbox(key="heads_run").value.subject.id == str(run) and not page.error
    crossed = [trace for trace in chart(page, "heads_grid")["data"] if trace["name"] == "switched off"]
    assert len(numbers(crossed[0]["x"])) == 24
    assert mask_of(page) == cut_of(heart)
    for score in ("taylor", "energy"):
        assert not at("heads", run=run, score=score).error


@pytest.mark.parametrize("score", ["taylor", "taylor_signed"])
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("stages", [[4, 4], [1, 3, 4]])
def test_the_score_that_is_shown_is_the_one_that_decided(score, scope, stages):
    from peftcore.methods.heart_lora import HeartLoRA
    from peftcore.probes.responsiveness import HeadScores

    rng, depth = np.random.default_rng(3), sum(stages)
    heads = [2 * (stage + 1) for stage, layers in enumerate(stages) for _ in range(layers)]
    values = rng.normal(size=(depth, 2, max(heads)))
    for layer, there in enumerate(heads):
        values[layer, :, there:] = np.nan
    numbers = np.split(np.arange(depth), np.cumsum(stages)[:-1])
    paths = [f"layers.{s}.blocks.{i}" for s, many in enumerate(stages) for i in range(many)]
    method = HeartLoRA(score=score, scope=scope, percent_off=50)
    off = method.choose_off(HeadScores(values, ("q", "v"), tuple(paths), score), heads, [list(n) for n in numbers])
    shown = subjects.Scores(values, ("q", "v"), tuple(paths), score).decided(method.model_dump())
    for layer, there in enumerate(heads):
        assert off[layer] == sorted(np.argsort(shown[layer, :there], kind="stable")[: len(off[layer])].tolist())


def test_no_crossed_head_outshines_one_that_stayed(at, run, heart):
    page = at("heads", run=run)
    grid = chart(page, "heads_grid")
    gone, scores = cut_of(heart), {}
    for (layer, head, *_), colour in zip(
        grid["data"][0]["customdata"], numbers(grid["data"][0]["marker"]["color"]), strict=True
    ):
        scores.setdefault(layer, {})[head] = colour
    for layer, row in scores.items():
        stayed = [value for head, value in row.items() if head not in gone[layer]]
        assert max(row[head] for head in gone[layer]) <= min(stayed)
    page = at("heads", run=run, projection="q", layer=1, head=gone[0][0] + 1)
    assert "Switched off: rank " in text(page) and "summed over q, v" in text(page)
    hovers = [data[6] for data in chart(page, "heads_grid")["data"][0]["customdata"]]
    assert sum("by the deciding score" in hover for hover in hovers) == 24


def test_clicks_make_a_mask_and_launch_uses_it(at, store, run, heart):
    before = cut_of(heart)
    gone, kept = before[2][0], next(h for h in range(8) if h not in before[5])
    page = at("heads", run=run)
    click(page, "heads_mask", 2, gone)
    click(page, "heads_mask", 5, kept)
    wanted = edit_mask.toggled(edit_mask.toggled(before, 2, gone), 5, kept)
    assert mask_of(page) == wanted != before
    assert "24 off, 1 more off and 1 more on" in text(page)
    click(page, "heads_mask", 5, kept)  # the same head again: switched back
    assert mask_of(page) == edit_mask.toggled(before, 2, gone)
    page.button("overrule_reset").click().run()
    assert mask_of(page) == before
    click(page, "heads_mask", 2, gone)
    click(page, "heads_mask", 5, kept)
    page.button("overrule_launch").click().run()
    assert page.title[0].value.startswith("Which backbone")
    assert title(chart(page, "launch_heads_off")).startswith("24 of 64") and "that you named" in text(page)
    # AppTest stays on the page from which the script switched, so the address is opened anew.
    at("launch", **page.query_params).button("launch").click().run()
    spec = RunSpec.from_dict(store.runs()[0].spec)
    old = RunSpec.from_dict(heart[0])
    assert spec == old.replace(method=old.method.replace(off=wanted))
    assert spec.method.off == tuple(map(tuple, wanted))


def test_a_layer_without_heads_is_refused(at, run):
    everything = [[*range(8)], *([[]] * 7)]
    page = at("heads", run=run, off=f"{run}:{json.dumps(everything)}")
    assert "Layer 1 has no head left on" in page.error[0].value
    assert page.button("overrule_launch").disabled


@pytest.mark.parametrize("off", ["x", "{run}:[[99]]", "{run}:[1]", "{run}:[[1],[2]]", "77:[[1],[],[],[],[],[],[],[]]"])
def test_a_mask_that_does_not_fit_is_the_run_s_own(at, run, heart, off):
    assert mask_of(at("heads", run=run, off=off.format(run=run))) == cut_of(heart)


@pytest.mark.parametrize("off", [[[0, 2], [1], [], [], [7], [], [], []], [[1, 3]]])
def test_the_link_keeps_nested_lists(at, store, off):
    spec = RunSpec(method={"name": "heart_lora", "off": off})
    at("launch", **forms.preset(spec.to_dict())).button("launch").click().run()
    assert RunSpec.from_dict(store.runs()[0].spec) == spec


def test_the_new_run_s_second_phase_uses_the_mask(heart, monkeypatch):
    from peftcore.train import loop

    whole = loop.load_task("digits")
    few = Split(whole.train.images[:24], whole.train.labels[:24])
    monkeypatch.setattr(loop, "load_task", lambda name: replace(whole, train=few, val=few, test=few))
    wanted = edit_mask.toggled(cut_of(heart), 0, cut_of(heart)[0][0])
    old = RunSpec.from_dict(heart[0])
    told = list(loop.finetune(old.replace(method=old.method.replace(off=wanted))))
    done = next(event for event in told if event.kind == "heads_cut")
    assert done.off == wanted and done.overruled
