"""Runs side by side: by link, grouped by seed, on one task at a time, and whether they err on the same images."""

from __future__ import annotations

import numpy as np
import pytest
import streamlit as st
from drawn import figures

from app.compare import entries, mistakes, view
from peftcore.figures.accuracy import Ground
from peftcore.store import again as again_
from peftcore.store import gallery, marks, results


def text(page) -> str:
    parts = [e.value for kind in ("markdown", "caption", "info", "error") for e in getattr(page, kind)]
    return " ".join(parts).replace("\\", "")


def again(store, recorded, method: str, /, **changes) -> int:
    """One more run like a recorded one, but for some fields of its spec."""
    spec, told, artifacts, summary = recorded[method]
    run = store.create_run(spec | changes)
    store.set_status(run, "running")
    store.append(run, told, artifacts)
    store.set_status(run, "finished", summary=summary)
    return run


def test_without_runs_the_recorded_examples_are_compared(at):
    page = at("compare")
    assert "recorded examples" in text(page) and len(figures(page)) == 1
    assert {link.label for link in page.page_link} == {"Launch your own"}


def test_runs_by_link_and_each_view(at, trained):
    runs = f"{trained['lora']},{trained['last']}"
    page = at("compare", runs=runs)
    assert page.multiselect(key="compare_runs").value == runs.split(",")
    assert len(figures(page)) == 1 and "95 % intervals" in text(page)
    for cost in entries.NUMBERS[2:]:
        assert len(figures(at("compare", runs=runs, cost=cost))) == 1
    for axis in ("epoch", "step", "seconds"):
        for value in ("val_accuracy", "loss"):
            page = at("compare", runs=runs, view="curves", x=axis, y=value)
            assert len(figures(page)) == 1 and not page.error
    page = at("compare", runs=runs, view="mistakes")
    assert len(figures(page)) == 1 and "McNemar" in text(page)
    assert [metric.label for metric in page.metric] == ["Best alone", "Their vote", "Any of them"]


def test_one_run_or_none_is_an_invitation(at, trained):
    assert "Choose 2 to 12 runs" in text(at("compare", runs=trained["lora"]))
    assert "Choose 2 to 12 runs" in text(at("compare", runs="none"))


def test_an_unknown_run_is_a_sentence_beside_the_others(at, trained):
    page = at("compare", runs=f"{trained['lora']},{trained['last']},99")
    assert "There is no run 99" in text(page) and len(figures(page)) == 1


def test_runs_that_differ_in_the_seed_alone_are_a_group(at, trained, recorded, store):
    other = again(store, recorded, "lora", seed=1)
    found = entries.groups([entries.of(str(run)) for run in (trained["lora"], other, trained["last"])])
    assert [len(group.entries) for group in found] == [2, 1]
    assert found[0].row()["runs"] == 2 and found[0].row()["spread"] == 0 and found[1].row()["spread"] is None
    page = at("compare", runs=f"{trained['lora']},{other},{trained['last']}")
    assert "one standard deviation" in text(page)


def test_a_seed_counts_once_and_recorded_runs_stand_for_themselves(at, trained, recorded, store):
    twice, other = (again(store, recorded, "lora", seed=seed) for seed in (0, 1))
    with store.write() as db:
        db.execute("UPDATE runs SET summary = json_set(summary, '$.test_accuracy', 0.9) WHERE id = ?", (twice,))
    row = entries.groups([entries.of(str(run)) for run in (twice, trained["lora"], other)])[0].row()
    same = store.run(other).summary["test_accuracy"]
    assert row["runs"] == 2 and row["accuracy"] == pytest.approx((0.9 + same) / 2), "the newest run of each seed"
    mine = store.create_run(gallery.record("lora-digits")["spec"])
    found = entries.groups([entries.of(code) for code in ("lora-digits", str(mine))])
    assert [len(group.entries) for group in found] == [1, 1] and found[1].label.endswith(", recorded")


def test_validation_curves_have_the_chance_of_validation_images(at, trained, monkeypatch):
    chances = []
    draw = view.figures.runs_overlay
    monkeypatch.setattr(view.figures, "runs_overlay", lambda *a, chance, **k: chances.append(chance) or draw(*a, **k))
    at("compare", runs=f"{trained['lora']},{trained['last']}", view="curves", y="val_accuracy")
    started = entries.of(str(trained["lora"])).started
    assert chances == [Ground.of(started, "val").chance]


def test_a_run_that_knows_fewer_settings_is_compared_all_the_same(at, trained, recorded, store):
    spec = recorded["lora"][0]
    older = {name: of for name, of in spec["method"].items() if name in ("name", "rank")}
    other = again(store, recorded, "lora", method=older, seed=1)
    page = at("compare", runs=f"{trained['lora']},{other}")
    assert not page.error and len(figures(page)) == 1
    assert len(entries.groups([entries.of(str(run)) for run in (trained["lora"], other)])) == 1


def test_runs_on_several_tasks_are_compared_on_one(at, trained, recorded, store):
    other = again(store, recorded, "lora", task="orientation")
    page = at("compare", runs=f"{trained['lora']},{trained['last']},{other}")
    assert "on 2 tasks" in text(page)
    assert page.segmented_control(key="compare_task").value == "digits"
    page = at("compare", runs=f"{trained['lora']},{trained['last']},{other}", task="orientation", view="mistakes")
    assert "two runs with predictions" in text(page) and not page.exception


def test_runs_without_predictions_or_end_are_named(at, trained, store):
    store.delete_artifact(trained["last"], results.ARTIFACT)
    page = at("compare", runs=f"{trained['lora']},{trained['last']}", view="mistakes")
    assert "kept no predictions" in text(page)
    assert page.button(f"predict_again_{trained['last']}").label == "Predict again"
    stopped = store.create_run(store.run(trained["lora"]).spec)
    store.set_status(stopped, "cancelled")
    for name in ("cost", "curves", "mistakes"):
        page = at("compare", runs=f"{trained['lora']},{stopped}", view=name)
        assert not page.exception and not page.error
    assert "cancelled" in text(page)


@pytest.mark.parametrize(
    "one, two, p, says",
    [
        (0, 0, 1.0, "Run 1 and run 2 are right and wrong on the same images."),
        (9, 8, 1.0, "No difference beyond chance"),
        (3, 30, 1e-6, "Run 2 is better than run 1"),
        (30, 3, 1e-6, "Run 1 is better than run 2"),
        (900, 0, 0.0, "Run 1 is better than run 2 (p < 0.001)"),
    ],
)
def test_verdicts(one, two, p, says):
    assert mistakes.verdict("run 1", "run 2", {"only_first": one, "only_second": two, "p": p}, 100).startswith(says)


def test_nothing_on_the_front_is_beaten():
    from peftcore.figures.cost import pareto

    rows = [{"accuracy": a, "memory": m} for a, m in [(0.9, 5), (0.8, 1), (0.7, 2), (0.9, 6), (0.95, 9), (0.8, 1)]]
    front = [rows[n] for n in pareto(rows, "memory")]
    assert [(row["accuracy"], row["memory"]) for row in front] == [(0.8, 1), (0.9, 5), (0.95, 9)]


def test_the_leaderboard_ranks_a_task_and_filters(at, trained, recorded, store):
    other = again(store, recorded, "lora", seed=1)
    page = at("compare", view="board")
    assert page.selectbox(key="board_task").value == "digits" and len(figures(page)) == 1
    table = page.dataframe[0].value
    examples = sum(gallery.record(name)["spec"]["task"] == "digits" for name in gallery.names())
    assert sorted(table["seeds"]) == [1] * (examples + 1) + [2], "LoRA's seeds are one row"
    assert table["recorded"].sum() == examples > 1
    assert table["validation"].is_monotonic_decreasing
    assert any(f"{trained['lora']}, {other}" == runs for runs in table["runs"])
    page.text_input(key="leaderboard_filter").set_value("LoRA recorded=no").run()
    assert f"None of {examples + 2} rows" in text(page)
    page.text_input(key="leaderboard_filter").set_value("lora lora-digits").run()
    assert list(page.dataframe[0].value["method"]) == ["LoRA"]


def test_the_leaderboard_is_of_the_runs_there_are(at, recorded, store):
    """Also where the run that was launched first ends last, and where one is deleted."""
    spec, told, artifacts, summary = recorded["lora"]
    long, short = (store.create_run(spec | {"seed": seed}) for seed in (7, 8))
    for run in (long, short):
        store.set_status(run, "running")
        store.append(run, told, artifacts)

    def runs(page) -> str:
        return " ".join(page.dataframe[0].value["runs"])

    store.set_status(short, "finished", summary=summary)
    page = at("compare", view="board", task="digits")
    assert str(short) in runs(page) and str(long) not in runs(page)
    store.set_status(long, "finished", summary=summary)
    assert f"{long}, {short}" in runs(page.run())
    marks.delete(store, [long])
    assert str(long) not in runs(page.run())


def test_runs_that_had_not_begun_when_they_were_compared_first_tell_all_later(at, recorded, store):
    spec, told, artifacts, summary = recorded["lora"]
    runs = [store.create_run(spec | {"seed": seed}) for seed in (1, 2)]
    for run in runs:
        store.set_status(run, "running")
    at("compare", runs=f"{runs[0]},{runs[1]}")
    for run in runs:
        store.append(run, told, artifacts)
        store.set_status(run, "finished", summary=summary)
    table = next(d.value for d in at("compare", runs=f"{runs[0]},{runs[1]}").dataframe if "from" in d.value)
    assert table[["from", "to", "trained weights"]].notna().all(axis=None)


def test_a_run_that_is_named_twice_is_compared_once(at):
    page = at("compare", runs="lora-digits,lora-digits,last-digits")
    assert page.multiselect(key="compare_runs").value == ["lora-digits", "last-digits"]


def test_published_numbers_stand_beside_runs_on_a_task_of_vtab(at, trained, recorded, store):
    runs = [again(store, recorded, method, task="vtab:/data/dtd") for method in ("lora", "last")]
    for page in (at("compare", runs=",".join(map(str, runs))), at("compare", view="board", task="vtab:/data/dtd")):
        assert "Another backbone and another protocol" in text(page)
    page = at("compare", runs=f"{trained['lora']},{trained['last']}")
    assert "Another backbone" not in text(page) and "What papers report" in page.expander[0].label


def test_recorded_examples_make_mistakes_too_and_one_without_predictions_offers_them(at, monkeypatch):
    page = at("compare", runs="last-digits,lora-digits", view="mistakes")
    assert "McNemar" in text(page) and "alone gets" in text(page)
    monkeypatch.setattr(gallery, "predictions", lambda name: None)
    st.cache_resource.clear()
    page = at("compare", runs="last-digits,lora-digits", view="mistakes")
    assert "came without predictions" in text(page)
    monkeypatch.setattr(again_, "predictions", told)
    page.button("predict_last-digits").click().run()
    assert not page.exception and "The recorded example last-digits" not in text(page)
    st.cache_resource.clear()


def told(spec, blob, classes, name):
    """What its adapter would say, without a forward."""
    yield 1, 2
    labels = np.arange(10)
    return {"probabilities": np.eye(10), "predicted": labels, "labels": labels, "classes": classes}
