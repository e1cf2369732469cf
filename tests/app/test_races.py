"""Races: several values on the launch page make runs, and the page of runs shows them as one, ranked."""

from __future__ import annotations

import shlex
from urllib.parse import parse_qs, urlsplit

import pytest
from drawn import titles

from app import forms, libraries, words
from app.launch import raced
from app.runs import races
from peftcore import errors
from peftcore.cli.options import choices
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import marks, recipes
from peftcore.store.variations import variations


@pytest.fixture(autouse=True, scope="module")
def loaded():
    libraries.load()


def launched(store) -> list[RunSpec]:
    return [RunSpec.from_dict(record.spec) for record in store.runs()[::-1]]


def text(page) -> str:
    parts = [e.value for kind in ("markdown", "subheader", "caption", "title") for e in getattr(page, kind)]
    return " ".join(parts).replace("\\", "")


# The launch page

RANKS = {"race": "rank", "race.rank": "4, 8"}


def test_several_values_are_launched_as_one_race(at, store):
    page = at("launch", epochs=3, **RANKS)
    assert page.button("launch").label == "Launch 2 runs"
    page.button("launch").click().run()
    base = recipes.with_recipe(RunSpec(epochs=3), ("epochs",))
    assert launched(store) == variations(base, {"rank": [4, 8]})
    assert {record.race for record in store.runs()} == {1} and page.query_params["race"] == "1"
    assert "Race 1: LAST on digits, vit_micro, over rank" in text(page)


def test_choosing_a_setting_gives_it_several_values_in_place(at, store):
    page = at("launch")
    assert not any(one.key == "race.lr" for one in page.text_input)
    page.multiselect("launch_race").set_value(["lr", "seed"]).run()
    rates = [float(rate) for rate in page.text_input("race.lr").value.split(", ")]
    base = recipes.with_recipe(RunSpec())
    assert rates[0] < rates[1] == base.lr < rates[2], "around the best that is known"
    assert not any(one.key == "lr" for one in page.text_input)
    page.text_input("race.seed").set_value("1, 2").run()
    assert "6 runs: 3 of learning rate x 2 of seed" in text(page)
    page.button("launch").click().run()
    assert launched(store) == variations(base, {"lr": rates, "seed": [1, 2]})


def test_a_setting_taken_out_of_the_race_takes_its_values_along(at, store):
    page = at("launch", race="rank,seed", **{"race.rank": "2, 4", "race.seed": "1, 2"})
    page.multiselect("launch_race").set_value(["rank"]).run()
    assert "race.seed" not in page.query_params and page.query_params["race.rank"] == "2, 4"
    assert not any("From the link" in warning.value for warning in page.warning)
    page = at("launch", **{"race.rank": "2, 4"})
    assert any("rank is not raced, so its values 2, 4 were left out" in warning.value for warning in page.warning)


@pytest.mark.parametrize(
    "query",
    [
        {"method": "lora", "race": "method,rank", "race.method": ["last", "bi_lora"], "race.rank": "4,8"},
        {"race": "up_bias,lr", "race.lr": "1e-3, 0.0123456789", "gap": 4, "last.stack": 1},
        {"method": "vpt", "race": "depth,weight_decay", "race.weight_decay": "0"},
    ],
)
def test_the_link_shown_restores_the_race_and_the_command_means_it(at, store, query):
    page = at("launch", **query)
    link = next(code.value for code in page.code if "launch?" in code.value)
    command = next(code.value for code in page.code if "peftcore race" in code.value)
    page.button("launch").click().run()
    first = launched(store)
    again = at(
        "launch", **{name: said if len(said) > 1 else said[0] for name, said in parse_qs(urlsplit(link).query).items()}
    )
    again.button("launch").click().run()
    assert launched(store)[len(first) :] == first and len(first) > 1
    kept = races.remembered(1)
    parts = shlex.split(command)
    assert choices([parts[i + 1] for i, part in enumerate(parts) if part == "--vary"]) == kept["several"]
    link = next(link for link in page.page_link if link.label == "Launch again")
    assert f"race={'%2C'.join(kept['several'])}" in link.proto.query_string.replace(",", "%2C")


@pytest.mark.parametrize(
    "said, told",
    [
        ("4, x", "'x' among the values of rank is not a whole number"),
        ("4, 2.5", "'2.5' among the values of rank is not a whole number"),
        ("0, 4", "rank = 0 is not possible"),
        (" , ", "no value of rank"),
        (", ".join(map(str, range(1, 18))), "17 runs; at most 16"),
    ],
)
def test_impossible_values_are_sentences(at, said, told):
    page = at("launch", race="rank", **{"race.rank": said})
    assert told in page.error[0].value.replace("\\", "") and page.button("launch").disabled


def test_a_combination_that_does_not_fit_is_a_sentence_before_the_launch(at):
    page = at("launch", race="gap", **{"race.gap": "2, 60"})
    assert "gap 60 is above the depth" in page.error[0].value and page.button("launch").disabled


def test_a_race_of_one_is_a_run(at, store):
    page = at("launch", race="rank", **{"race.rank": "8"})
    assert page.button("launch").label == "Launch"
    page.button("launch").click().run()
    assert store.run(1).race is None and launched(store) == [
        recipes.with_recipe(RunSpec(method={"name": "last", "rank": 8}))
    ]


@pytest.mark.parametrize("method", METHODS.names())
def test_what_is_offered_has_values_that_are_possible(method):
    cls = METHODS.load(method).METHOD
    for name in raced.offered(cls)[1:]:
        model = cls if name in cls.model_fields else RunSpec
        kind = forms.unwrap(model.model_fields[name].annotation)[0]
        if kind in (int, float):
            assert len(raced.several(cls, name, None, "vit_micro")) >= 2, name


def test_the_cost_of_a_race_is_one_set_of_features_and_each_ones_own(at):
    from app.launch import costs

    specs = variations(RunSpec(), {"rank": [4, 8], "seed": [0, 1]})
    each = [costs.of(spec).result() for spec in specs]
    whole = costs.of_race(specs, each).result()
    assert whole.sharing == 4 and whole.trained == sum(cost.trained for cost in each)
    assert whole.components["features"] == max(cost.components["features"] for cost in each)
    assert whole.components["optimizer"] == sum(cost.components["optimizer"] for cost in each)
    apart = [cost.peak - cost.components["cached_features"] for cost in each]
    assert max(apart) < whole.peak - whole.components["cached_features"] < sum(apart)
    # A race keeps the features of the 797 test images as well: one set for all.
    assert whole.components["cached_features"] == each[0].components["cached_features"] * 1797 // 1000
    specs = variations(RunSpec(), {"method": ["last", "lora"]})  # one after the other: the larger of them
    each = [costs.of(spec).result() for spec in specs]
    assert costs.of_race(specs, each).result().peak == max(sum(cost.components.values()) for cost in each)


# The page of runs


def tell(store, run, accuracies, status="running", test=None, error=None):
    """A run of 2 epochs of 10 steps that evaluated to these accuracies, one an epoch."""
    spec = store.run(run).spec
    started = {"kind": "started", "spec": spec, "method_kind": "side", "steps": 20, "epochs": 2,
               "parameters": {"backbone": 1000, "method": 40, "head": 10}, "classes": [*"0123456789"], "device": "cpu",
               "settings": {"images": {"val": [1000, 100], "test": [1000, 100]}}}  # fmt: skip
    store.set_status(run, "running")
    told = [started]
    for epoch, accuracy in enumerate(accuracies, 1):
        told += [{"kind": "step", "step": n, "epoch": epoch, "loss": 1 / n, "lr": 1e-3, "grad_norm": 1.0, "seconds": n,
                  "images_per_second": 9.0, "memory": None} for n in range(10 * epoch - 9, 10 * epoch + 1)]  # fmt: skip
        told.append({"kind": "evaluation", "epoch": epoch, "step": 10 * epoch, "split": "val", "accuracy": accuracy,
                     "loss": 1 - accuracy, "seconds": 0.1})  # fmt: skip
    store.append(run, told)
    if status != "running":
        summary = {} if test is None else {"test_accuracy": test, "val_accuracy": accuracies[-1]}
        store.set_status(run, status, summary=summary, error=error)


@pytest.fixture
def race(store) -> list[int]:
    return store.create_race([spec.to_dict() for spec in variations(RunSpec(epochs=2), {"rank": [4, 8, 16]})])


def order(page) -> list[str]:
    """Labels of the ranking's rows, the leader first."""
    return [b.label.partition(") ")[2].strip("*") for b in page.button if b.key.startswith("run_lane_")]


def finding(page) -> str:
    return titles(page)[0].replace("<br>", " ")


def test_the_ranking_settles_by_validation_accuracy(at, store, race):
    page = at("runs", race=race[0])
    assert order(page) == ["rank 4", "rank 8", "rank 16"] and finding(page) == "No run has finished an epoch yet"
    tell(store, race[0], [0.5])
    tell(store, race[1], [0.4, 0.75])
    page = at("runs", race=race[0])
    assert order(page) == ["rank 8", "rank 4", "rank 16"]
    assert finding(page) == "Rank 8 leads with 0.750 (0.72 to 0.78), 0.250 ahead of rank 4"
    assert page.get("progress")[0].proto.text.startswith("2 of 3 at work") and page.get("progress")[0].proto.value == 50
    assert "epoch 2 of 2" in text(page) and "0.750" in text(page)


def test_test_images_choose_nothing(at, store, race):
    for run, accuracy, test in zip(race, (0.5, 0.7, 0.6), (0.9, 0.5, 0.6), strict=True):
        tell(store, run, [0.1, accuracy], "finished", test)
    page = at("runs", race=race[0])
    assert order(page) == ["rank 8", "rank 16", "rank 4"] and finding(page).startswith("Rank 8 wins with 0.700")
    assert "3 runs, all finished" in text(page) and not any(b.key in ("stop", "resume") for b in page.button)


def test_a_difference_within_the_intervals_is_no_win(at, store, race):
    for run, accuracy in zip(race, (0.62, 0.60, 0.3), strict=True):
        tell(store, run, [0.1, accuracy], "finished", accuracy)
    page = at("runs", race=race[0])
    assert finding(page) == "No clear winner: rank 4 0.620 and rank 8 0.600 differ by less than their intervals"
    assert "0.620 :small[:gray[0.59 to 0.65]]" in text(page)


def test_a_race_at_chance_has_no_winner(at, store, race):
    for run, accuracy in zip(race, (0.11, 0.1, 0.02), strict=True):
        tell(store, run, [0.1, accuracy], "finished", accuracy)
    page = at("runs", race=race[0])
    assert finding(page).startswith("All stay at chance: the best, rank 4, has 0.110, chance 0.100")


def test_one_that_failed_says_why_and_the_others_are_ranked(at, store, race):
    tell(store, race[0], [], "failed", error="The loss became nan. Try a lower learning rate.")
    tell(store, race[1], [0.1, 0.2], "finished", 0.2)
    tell(store, race[2], [0.1, 0.3], "cancelled")
    page = at("runs", race=race[0])
    assert order(page) == ["rank 16", "rank 8", "rank 4"]
    assert any("Try a lower learning rate" in (e.help or "") for e in page.markdown)
    page.button("resume").click().run()
    assert [store.run(run).status for run in race] == ["queued", "finished", "queued"]


def test_stop_all_stops_all(at, store, race):
    tell(store, race[0], [0.5])
    page = at("runs", race=race[0])
    page.button("stop").click().run()
    assert [store.run(run).status for run in race] == ["cancelled"] * 3
    assert page.get("progress")[0].proto.text == "Ended: 0 of 3 finished."


def test_a_race_is_one_card_in_the_list_and_leads_to_its_runs_and_back(at, store, race):
    alone = store.create_run(RunSpec(method="lora").to_dict())
    page = at("runs")
    assert [b.key for b in page.button if b.key.startswith("run_")] == [f"run_{alone}", f"run_race_{race[0]}"]
    page.button(f"run_race_{race[0]}").click().run()
    assert page.query_params == {"race": ["1"]} or page.query_params["race"] == "1"
    page.button(f"run_lane_{race[1]}").click().run()
    assert f"Run {race[1]}: LAST on digits" in text(page)
    assert page.button("to_race").label == "Race 1: rank 8"
    page.button("to_race").click().run()
    assert order(page) == ["rank 4", "rank 8", "rank 16"]
    page = at("runs", race=99)
    assert "There is no run 99" in page.error[0].value


def test_a_race_whose_runs_were_deleted_says_so(at, store, race):
    for number, run in enumerate(race):
        tell(store, run, [0.5 + 0.1 * number])
        store.set_status(run, "finished", summary={"test_accuracy": 0.5})
    marks.delete(store, race[1:])
    page = at("runs", race=race[0])
    assert "1 run, finished" in text(page) and "no other has" not in text(page)
    assert at("runs").button(f"run_race_{race[0]}").label.count("1 runs") == 0
    marks.delete(store, race[:1])
    assert f"The runs of race {race[0]} were deleted" in at("runs", race=race[0]).error[0].value
    marks.restore(store, race)
    assert not at("runs", race=race[0]).error


def test_the_newest_is_shown_be_it_a_race(at, race):
    assert "Race 1: LAST on digits, vit_micro, over rank" in text(at("runs"))


def test_labels_name_what_varies_and_nothing_else():
    def names(several, **base):
        return races.labels([spec.to_dict() for spec in variations(RunSpec(**base), several)])

    assert names({"rank": [4, 8]}) == ["rank 4", "rank 8"]
    assert names({"method": ["last", "lora"], "lr": [0.01]}) == ["LAST", "LoRA"]
    assert names({"lr": [0.01, 1e-5], "up_bias": [False]}) == ["learning rate 0.01", "learning rate 1e-05"]
    assert names({"seed": [3, 3]}) == ["as the others (1)", "as the others (2)"]
    assert words.race_title(
        [s.to_dict() for s in variations(RunSpec(), {"method": ["last", "lora"], "lr": [1, 2]})]
    ) == ("LAST, LoRA on digits, vit_micro, over learning rate")


def test_more_runs_than_fit_are_refused():
    with pytest.raises(errors.InvalidSetting, match="20 runs: 4 of rank x 5 of seed; at most 16"):
        raced.runs(RunSpec(), {"rank": [1, 2, 3, 4], "seed": [0, 1, 2, 3, 4]})


def test_runs_of_different_methods_are_told_apart_by_more_where_more_differs():
    last, lora = RunSpec(method="last", lr=0.01, epochs=20), RunSpec(method="lora", lr=0.03)
    assert words.labels([last.to_dict(), lora.to_dict()]) == ["LAST", "LoRA"], "rate and epochs come with the method"
    wider = lora.replace(image_size=96)
    assert words.labels([last.to_dict(), wider.to_dict()])[1] == "LoRA, image size 96"
    assert words.variation({"clip": None}) == "no clip" and words.value(None, "clip") == "none"
    assert words.value(None, "image_size") == "automatic" and words.value(False) == "off"
