"""Memory that is predicted is what is measured: by method, precision, batch and image size, and in runs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from laws import predicted_step
from measuring import FAMILIES, batch_for, chain, measured, tuned
from torch.profiler import ProfilerActivity, profile

from peftcore import errors
from peftcore.backbone.load import load_backbone
from peftcore.bench._fitting_batch import _search, largest_batches
from peftcore.bench._measure import measure_step
from peftcore.engine import prediction
from peftcore.engine.worker import finetune
from peftcore.figures.kept_rows import FROZEN, NO_GRADIENT, REMADE, activations_by, blocks_of, compare_block, totals
from peftcore.memory import COMPONENTS, MemoryReport, predict_memory
from peftcore.model import attach
from peftcore.spec import RunSpec
from peftcore.task import Split
from peftcore.train import loop

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "family, method", [("vit", "full"), ("vit", "lora"), ("vit", "last"), ("swin", "full"), ("swin", "last")]
)
def test_the_measurement_equals_what_the_allocator_hands_out(family, method):
    """Oracle: the profiler's record of every CPU allocation."""
    model = tuned(family, method)
    images, labels = batch_for(
        model, 16
    )  # so many that the peak is not in the scratch of the patch embedding's backward
    optimizer = torch.optim.AdamW(model.trainable_parameters())
    report = measure_step(model, images, labels, optimizer)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        del loss
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    now = top = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            top = max(top, now)
    before = images.nbytes + labels.nbytes + report.weights + report.components["optimizer"]
    assert report.peak - before == pytest.approx(top, rel=1e-3)


@pytest.mark.parametrize("family, method", [("vit", "full"), ("vit", "lora"), ("vit", "last"), ("swin", "last")])
def test_predicted_is_measured_in_bf16(family, method):
    """In fp32: test_contract.py, for every method."""
    model, precision = tuned(family, method), "bf16"
    found = measured(model, precision=precision)
    forecast = predicted_step(tuned(family, method, "meta"), (4, *model.backbone.input_size), precision=precision)
    assert forecast.predicted and not found.predicted
    assert forecast.peak == pytest.approx(found.peak, rel=0.005)
    assert forecast.above_weights == pytest.approx(found.above_weights, rel=0.01)
    for name in COMPONENTS:
        assert forecast.components[name] == pytest.approx(found.components[name], rel=0.03, abs=2048)
    # In bf16 the CPU keeps a norm's means in fp32, PyTorch's kernel without data in bf16.
    assert forecast.kept == pytest.approx(found.kept, rel=0.02)


def test_predicted_is_measured_on_cached_features():
    model = tuned("vit", "last")
    images, _ = batch_for(model)
    found = measured(model, features=model.features(images))
    predicted = predicted_step(tuned("vit", "last", "meta"), tuple(images.shape), cached=True)
    assert predicted.peak == found.peak and predicted.components == found.components
    assert found.components["features"] == sum(t.nbytes for t in model.features(images))
    assert found.peak < measured(model).peak


def test_vit_base_as_known():
    """Batch 32, fp32: 4,541 MB above the weights was measured independently for full fine-tuning."""
    full = predict_memory(
        RunSpec(backbone="vit_base_patch16_224", method="full", batch_size=32, device="cpu"), num_classes=100
    )
    assert full.above_weights / 1e6 == pytest.approx(4541, rel=0.01)
    assert full.weights == 4 * (85_798_656 + 76_900) and full.batch_size == 32
    assert full.seconds < 20


def test_cuda_keeps_no_attention_map_either():
    for precision in ("fp32", "bf16"):
        cpu, cuda = (
            predicted_step(tuned("vit", "full", "meta"), (4, 3, 64, 64), target=target, precision=precision)
            for target in ("cpu", "cuda")
        )
        assert cuda.device == "cuda" and not any(row["shape"][-2:] == [17, 17] for row in cuda.activations)
        assert cuda.kept == pytest.approx(cpu.kept, rel=0.05)


def test_reports_survive_json():
    report = measured(tuned("vit", "linear"))
    again = MemoryReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert again.to_dict() == report.to_dict() and again.above_weights == report.above_weights
    with pytest.raises(errors.UnknownName, match="peak"):
        MemoryReport.from_dict({**report.to_dict(), "peek": 1})


def test_a_report_of_an_older_headroom_opens():
    """It had no component for cached features, and no plan of a cache."""
    report = measured(tuned("vit", "linear")).to_dict()
    older = {name: value for name, value in report.items() if name != "cache"}
    older["components"] = {name: size for name, size in report["components"].items() if name != "cached_features"}
    opened = MemoryReport.from_dict(older)
    assert opened.components["cached_features"] == 0 and sum(opened.components.values()) == opened.peak


def test_impossible_predictions_say_why():
    spec = RunSpec(backbone="vit_tiny_patch16_224", method="lora", device="cpu")
    with pytest.raises(errors.InvalidSetting, match="cache_features=True is not possible: this method changes"):
        predict_memory(spec.replace(cache_features=True), num_classes=10)
    for device in ("banana", "cuda:x"):
        with pytest.raises(errors.InvalidSetting, match=f"no device '{device}'"):
            predict_memory(spec.replace(device=device), num_classes=10)
    with pytest.raises(errors.InvalidSetting, match="tpu"):
        predicted_step(chain(), (1, 3, 8, 8), target="tpu")


# Two methods side by side, and the largest batch


def predicted(family: str, method: str, size: int = 4, **options) -> MemoryReport:
    return predicted_step(
        tuned(family, method, "meta"), (size, *tuned(family, method, "meta").backbone.input_size), **options
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "ssf", "last"])
def test_a_block_side_by_side_loses_no_byte(family, method):
    reports = {name: predicted(family, name) for name in ("full", method)}
    for block in blocks_of(reports["full"]):
        rows = compare_block(reports, block)
        for name, report in reports.items():
            assert sum(row["bytes"][name] for row in rows) == activations_by(report, "block").get(block, 0)
        assert all(row["reason"][name] for row in rows for name in reports)


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_keeps_what_full_keeps_but_inputs_of_frozen_layers(family):
    reports = {name: predicted(family, name) for name in ("full", "lora")}
    rows = compare_block(reports, blocks_of(reports["full"])[1], reports["full"])
    dropped = [row for row in rows if row["bytes"]["full"] and not row["bytes"]["lora"]]
    own = [row for row in rows if row["bytes"]["lora"] and not row["bytes"]["full"]]
    assert {"output of norm2", "output of mlp.act"} <= {row["what"] for row in dropped}
    reasons = {row["what"]: row["reason"]["lora"] for row in dropped}
    assert reasons.pop("output of norm1", REMADE) == REMADE, (
        "windows of a Swin are copies, so there it is not the norm's"
    )
    assert set(reasons.values()) == {FROZEN} and ("output of norm1" in {r["what"] for r in dropped}) == (
        family == "vit"
    )
    assert not own, "a pair's low-rank vector is computed again"
    assert all(row["bytes"]["lora"] == row["bytes"]["full"] for row in rows if row not in dropped + own)


def test_a_side_method_keeps_nothing_of_a_block_and_says_so():
    reports = {name: predicted("vit", name) for name in ("full", "last")}
    rows = compare_block(reports, "blocks.1")
    assert {row["reason"]["last"] for row in rows} == {NO_GRADIENT} and not any(row["bytes"]["last"] for row in rows)
    with pytest.raises(errors.UnknownName, match="blocks.1"):
        compare_block(reports, "blocks.11")


def test_totals_of_a_step():
    full, lora = (totals(predicted("vit", name)) for name in ("full", "lora"))
    assert full["gradients"] > 2.9 * full["trained"] and lora["gradients"] < 0.2 * full["gradients"]
    assert 0.4 < lora["activations"] / full["activations"] < 1 and lora["inside"] > 0.9 * lora["activations"]


@pytest.mark.parametrize("method", ["full", "lora", "last"])
def test_the_largest_batch_fits_and_one_more_does_not(method):
    spec = RunSpec(method=method, device="cpu", cache_features=False)
    budgets = [9_000_000, 30_123_456]
    for budget, batch in largest_batches(spec, budgets, num_classes=10).items():
        peak = {n: predict_memory(spec.replace(batch_size=n), num_classes=10).peak for n in (batch, batch + 1) if n}
        assert peak.get(batch, 0) <= budget < peak[batch + 1]


def test_a_memory_too_small_for_one_image_and_one_too_large_for_any(monkeypatch):
    spec = RunSpec(method="linear", device="cpu")
    assert largest_batches(spec, [1_000_000], num_classes=10) == {1_000_000: 0}
    monkeypatch.setattr("peftcore.bench._fitting_batch.LIMIT", 64)
    assert largest_batches(spec, [10**12], num_classes=10) == {10**12: 64}
    with pytest.raises(errors.InvalidSetting, match="positive"):
        largest_batches(spec, [0], num_classes=10)


def test_a_search_among_straight_pieces_is_short_and_exact():
    asked = []

    def peak(batch):  # flat, then two slopes, then a step: as weights, activations and a kernel's padding make it
        asked.append(batch)
        return max(5000, 40 * batch, 90 * batch - 20_000) + 777 * (batch // 100)

    for budget in (*range(4000, 60_000, 777), 5000, 4999):
        asked.clear()
        found = _search(peak, budget, 64)
        assert found == 0 and budget < peak(1) or peak(found) <= budget < peak(found + 1)
        assert len(asked) < 60


def test_very_many_chunks_without_data_are_not_all_followed(monkeypatch):
    spec = RunSpec(method="linear", device="cpu", batch_size=16 * 20, cache_features=False)
    few = predict_memory(spec)
    monkeypatch.setattr("peftcore.backbone.backbone._CHUNKS_WITHOUT_DATA", 10**6)
    every = predict_memory(spec)
    assert few.components == every.components and few.at == every.at
    assert len(few.activations) == len(every.activations)


@pytest.mark.parametrize("size", [72, 96])
def test_another_image_size_is_measured_as_predicted(size):
    spec = RunSpec(method="lora", device="cpu", batch_size=2, pretrained=False)
    backbone = load_backbone("vit_micro", pretrained=False, img_size=size)
    model = attach(backbone, spec.method, num_classes=10)
    assert predict_memory(spec, num_classes=10, image_size=size).peak == measured(model, 2).peak


@pytest.mark.parametrize(
    ("size", "message"), [(60, "56 or 64"), (7, "such as 8"), (0, "img_size=0"), (-8, "img_size=-8")]
)
def test_image_sizes_that_the_patch_does_not_divide_are_refused(size, message):
    with pytest.raises(errors.InvalidSetting, match=message):
        load_backbone("vit_micro", pretrained=False, device="meta", img_size=size)


# Runs


@pytest.fixture
def few_digits(monkeypatch):
    """The digits, 24 images of each split."""
    whole = loop.load_task("digits")
    parts = {name: getattr(whole, name) for name in ("train", "val", "test")}
    few = {name: Split(part.images[:24], part.labels[:24]) for name, part in parts.items()}
    monkeypatch.setattr(loop, "load_task", lambda name: replace(whole, **few))


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "last"},
        {"method": "last", "cache_features": False},
        {"method": "lora", "augmentation": "light"},
        {"method": {"name": "heart_lora", "warmup_epochs": 1}},
        {"method": "last", "backbone": "swin_micro", "precision": "bf16", "cache_precision": "bf16"},
    ],
)
def test_a_run_keeps_its_prediction_and_it_is_what_was_measured(settings, few_digits):
    events = list(finetune({"epochs": 2, "batch_size": 12, "pretrained": False, "device": "cpu", **settings}, None))
    memory = dict(events[-1].memory)
    predicted = memory.pop("predicted")
    assert predicted["peak"] == memory["peak"] and set(predicted) == set(memory)
    assert predicted["features"] == memory["features"] and sum(predicted.values()) == 2 * predicted["peak"]


def test_a_run_is_not_lost_for_its_prediction(monkeypatch, few_digits, caplog):
    def broken(*_, **__):
        raise RuntimeError("no such kernel")

    prediction._prediction.cache_clear()
    monkeypatch.setattr(prediction, "predict_memory", broken)
    *_, last = finetune({"method": "linear", "epochs": 1, "batch_size": 12, "pretrained": False}, None)
    assert last.kind == "finished" and "predicted" not in last.memory and "no prediction" in caplog.text
    prediction._prediction.cache_clear()


def test_cached_features_of_a_probe_are_the_pooled_ones_alone():
    """Measured on copies, as from a cache: a class token that is a view would hold all tokens."""
    model = tuned("vit", "linear")
    features = tuple(part.clone() for part in model.features(batch_for(model)[0]))
    shape = (4, *model.backbone.input_size)
    guess, real = predicted_step(tuned("vit", "linear", "meta"), shape, cached=True), measured(model, features=features)
    assert guess.components == real.components and guess.components["features"] == 4 * 64 * 4
