"""The Memory page: predictions at once, a real measurement on request, sentences for what does not fit."""

import threading

import pytest
from drawn import figures

from app.memory import batch_sizes, cases, measuring
from peftcore.errors import OutOfMemory
from peftcore.figures.words import si_bytes


def text(app) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.info, *app.error]).replace(
        "\\", ""
    )


def case(method: str, **changes) -> cases.Case:
    settings = dict(backbone="vit_micro", batch="4", precision="fp32", device="cpu") | changes
    return cases.Case(method=method, **settings)


@pytest.fixture(autouse=True)
def nothing_measured():
    measuring._bench.clear()
    batch_sizes._desk.clear()


@pytest.fixture(scope="module", autouse=True)
def predicted():
    """Torch is loaded and what most tests ask for is predicted, so that no page waits for longer than a test may."""
    for method in ("full", "lora", "last", "linear"):
        cases.predicted(case(method, device="auto")).result(timeout=300)


def test_predictions_of_three_methods(at):
    app = at("memory", batch=4)
    assert app.title[0].value == "Why does this fit?"
    table = app.dataframe[0].value
    assert table["method"].tolist() == ["Full fine-tuning", "LoRA", "LAST"]
    assert "prediction" not in table and not app.error
    assert len(figures(app)) == 4 and "powers of ten" in text(app)


def test_what_ends_while_the_page_draws_is_drawn_too(at, monkeypatch):
    """Its prediction ends after the rows were collected and before the page looks whether something is under way."""
    from app.memory import ledgers

    go_on, predict, table = threading.Event(), cases.predict, ledgers.table

    def held(asked: cases.Case):
        assert asked.method != "last" or go_on.wait(60)
        return predict(asked)

    def ends_now(shown):
        go_on.set()
        cases.predicted(case("last", batch="3", device="auto")).result(timeout=60)
        return table(shown)

    monkeypatch.setattr(cases, "predict", held)
    monkeypatch.setattr(ledgers, "table", ends_now)
    app = at("memory", batch=3)
    bars = str(figures(app)["memory_bars"])
    assert "Full fine-tuning" in bars and "LAST" in bars and not app.error


def test_measured_beside_predicted(at):
    app = at("memory", batch=4, methods="last,linear", curve="linear")
    app.button(key="memory_measure").click().run()
    for method in ("last", "linear"):
        measuring.measure(case(method, device="auto")).result(timeout=120)
    app.run()
    table = app.dataframe[0].value
    assert table["prediction"].str.endswith("%").all() and not app.error
    assert "One step of Linear probe, measured" in text(app)


def test_the_whole_process_beside_the_ledger(at, monkeypatch):
    from peftcore.bench import witness

    sizes = {
        "process": 12_000_000,
        "ledger": 10_000_000,
        **dict(zip(witness.PARTS, (3_000_000, 500_000, -1_500_000), strict=True)),
    }
    asked = []
    monkeypatch.setattr(witness, "witness", lambda spec: asked.append(spec) or sizes)
    app = at("memory", batch=4, methods="linear", witness="process")
    assert app.toggle(key="memory_witness").value
    app.button(key="memory_measure").click().run()
    measuring.measure(case("linear", device="auto"), measuring.PROCESS).result(timeout=120)
    app.run()
    table = next(d.value for d in app.dataframe if "process" in d.value)
    assert table.loc[0].tolist() == ["Linear probe", "12 MB", "10 MB", "+3 MB", "+500 kB", "-1.5 MB"]
    assert len(asked) == 1 and asked[0].batch_size == 4 and not app.error
    app.toggle(key="memory_witness").set_value(False).run()
    assert "witness" not in app.query_params


@pytest.mark.parametrize("method", ["full", "lora", "last"])
def test_predictions_are_near_what_is_measured(method):
    real, guess = measuring.measure(case(method)).result(timeout=120), cases.predicted(case(method)).result()
    assert guess.peak == pytest.approx(real.peak, rel=0.05)


def test_last_keeps_less_than_full_and_lora_and_its_cache_is_counted_apart():
    found = {m: cases.predicted(case(m, batch="32")).result() for m in ("full", "lora", "last")}
    step = {m: report.above_weights - report.components["cached_features"] for m, report in found.items()}
    assert step["last"] < 0.5 * step["lora"] < step["full"]
    assert found["last"].components["cached_features"] == found["last"].cache["bytes"] > 0
    assert not found["lora"].components["cached_features"]


def test_features_computed_in_the_step(at):
    app = at("memory", batch=4, methods="last", features="computed")
    assert "computed in every epoch: cache_features is off" in text(app) and not app.error


def test_impossible_cases_are_sentences(at):
    assert "There is no backbone" in text(at("memory", backbone="vit_macro"))


def test_a_step_that_does_not_fit_is_not_begun(monkeypatch):
    import psutil

    small = psutil.virtual_memory()._replace(available=1_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: small)
    refused = measuring.measure(case("full", batch="8")).result(timeout=60)
    assert isinstance(refused, OutOfMemory) and "its prediction stands" in str(refused)


def test_no_method_chosen_is_said(at):
    app = at("memory", batch=4, methods="linear")
    app.multiselect(key="memory_methods").set_value([]).run()
    assert "Choose at least one method" in text(app)


def test_two_methods_side_by_side(at):
    app = at("memory", batch=4)
    assert app.selectbox(key="memory_left").value == "full" and app.selectbox(key="memory_right").value == "lora"
    tensors = next(d.value for d in app.dataframe if "tensor" in d.value).set_index("tensor")
    assert tensors.loc["output of mlp.fc1", "LoRA"] == tensors.loc["output of mlp.fc1", "Full fine-tuning"]
    assert tensors.loc["output of mlp.act", "LoRA"].startswith("not kept: only a frozen weight's gradient")
    app = at("memory", batch=4, methods="last,linear", left="last", right="linear", block="blocks.2")
    assert "Neither keeps anything of layer 3" in text(app)


def test_the_methods_own_settings_come_by_link(at):
    app = at("memory", batch=4, methods="lora", **{"lora.rank": 64})
    assert app.text_input(key="lora.rank").value == "64"
    small, large = (cases.predicted(case("lora", device="auto", options=o)) for o in ("{}", '{"rank": 64}'))
    grown = large.result(timeout=60).components["trainable_weights"] / small.result().components["trainable_weights"]
    assert grown > 7 and app.dataframe[0].value["peak"][0] == si_bytes(large.result().peak)


def test_a_spec_and_its_link_predict_the_same():
    from peftcore.memory import predict_memory
    from peftcore.spec import RunSpec

    spec = RunSpec(
        method={"name": "lora", "rank": 3, "projections": ("q",)},
        batch_size=6, task="counting", device="cpu", image_size=72,
    )  # fmt: skip
    said = cases.preset(spec.to_dict())
    assert said["methods"] == "full,lora" and said["lora.rank"] == "3" and said["lora.projections"] == ["q"]
    same = case(
        "lora", batch=said["batch"], size=said["size"], task=said["task"], options='{"rank": 3, "projections": ["q"]}'
    )
    assert cases.predicted(same).result(timeout=60).components == predict_memory(spec).components


@pytest.mark.parametrize(
    ("size", "sentence"), [("60", "take a multiple, such as 56 or 64"), ("big", "number of pixels")]
)
def test_impossible_image_sizes_are_sentences(at, size, sentence):
    assert sentence in text(at("memory", batch=4, methods="linear", size=size))


def test_a_larger_image_is_measured_as_predicted():
    told = case("last", size="80", features="computed")
    real, guess = measuring.measure(told).result(timeout=120), cases.predicted(told).result()
    assert guess.peak == real.peak


def test_the_largest_batch_by_card(at, monkeypatch):
    from peftcore.bench import _fitting_batch as fitting_batch

    monkeypatch.setattr(fitting_batch, "LIMIT", 8)
    app = at("memory", batch=4, methods="linear")
    app.button(key="memory_search").click().run()
    batch_sizes.found(case("linear")).result(timeout=120)
    app.run()
    table = next(d.value for d in app.dataframe if "80 GB" in d.value)
    assert (table.loc[0, ["8 GB", "80 GB"]] == "8 or more").all() and not app.error
