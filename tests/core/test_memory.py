"""Laws of the ledger: it counts exactly, changes nothing, and its prediction equals the measurement."""

from __future__ import annotations

import gc
import json
import weakref
from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from laws import predicted_step
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint

from peftcore import errors
from peftcore.backbone.load import load_backbone
from peftcore.bench._fitting_batch import _search, largest_batches
from peftcore.bench._measure import measure_step
from peftcore.engine import prediction
from peftcore.engine.worker import finetune
from peftcore.figures.kept_rows import FROZEN, NO_GRADIENT, REMADE, activations_by, blocks_of, compare_block, totals
from peftcore.memory import (
    COMPONENTS,
    Ledger,
    MemoryReport,
    block_of,
    predict_memory,
)
from peftcore.methods import make_method
from peftcore.model import attach
from peftcore.spec import RunSpec
from peftcore.task import Split
from peftcore.train import loop

FAMILIES = {
    "vit": ("vit_tiny_patch16_224", dict(img_size=64, embed_dim=64, depth=3, num_heads=4)),
    "swin": (
        "swin_tiny_patch4_window7_224",
        dict(img_size=56, embed_dim=32, depths=(2, 1), num_heads=(2, 4)),
    ),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tuned(family: str, method: str, device: str = "cpu", **settings):
    name, architecture = FAMILIES[family]
    backbone = load_backbone(name, pretrained=False, device=device, **architecture)
    return attach(backbone, make_method(method, **settings), num_classes=10)


def batch_for(model, size: int = 4):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, *model.backbone.input_size, generator=generator)
    return images, torch.arange(size) % 10


def measured(model, size: int = 4, **options) -> MemoryReport:
    images, labels = batch_for(model, size)
    images = None if "features" in options else images
    return measure_step(model, images, labels, torch.optim.AdamW(model.trainable_parameters(), fused=True), **options)


def chain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 8))


def step(model, images, labels, optimizer, ledger: Ledger) -> None:
    with ledger.phase("forward"):
        loss = F.cross_entropy(model(images), labels)
    with ledger.phase("backward"):
        loss.backward()
    with ledger.phase("optimizer"):
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


class Recorder(Ledger):
    """Records the plain sum of live storages after every operator, without attribution."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = super().__torch_dispatch__(func, types, args, kwargs)
        self.totals = [*getattr(self, "totals", []), (self.timeline.tick, self.timeline.live_bytes)]
        return out


def test_components_sum_to_all_live_storages_at_every_operator():
    model, (images, labels) = chain(), (torch.randn(4, 16), torch.arange(4))
    optimizer = torch.optim.AdamW(model.parameters())
    with Recorder(model, optimizer) as ledger:
        ledger.declare((images, labels))
        step(model, images, labels, optimizer, ledger)
        assert sum(ledger.components().values()) == ledger.timeline.live_bytes
    table = ledger.timeline.levels().sum(axis=0)
    assert len(ledger.totals) > 30
    for tick, total in ledger.totals:
        assert table[tick] == total
    assert ledger.peak["total"] == max(total for _, total in ledger.totals)


def test_a_chain_of_linears_to_the_byte():
    model, (images, labels) = chain(), (torch.randn(4, 16), torch.arange(4))
    weights = 4 * (16 * 32 + 32 + 32 * 8 + 8)
    hidden, logits = 4 * 32 * 4, 4 * 8 * 4
    with Ledger(model) as ledger:
        ledger.declare((images, labels))
        loss = F.cross_entropy(model(images), labels)
        now = ledger.components()
        # input of GELU, its output (input of the second Linear), log-probabilities, the loss's weight
        assert now["activations"] == 2 * hidden + logits + 4
        assert now["trainable_weights"] == weights and now["frozen_weights"] == now["gradients"] == 0
        assert now["workspace"] == images.nbytes + labels.nbytes + 4  # the loss itself; the logits are gone
        loss.backward()
        now = ledger.components()
        assert now["gradients"] == weights and now["activations"] == 0
    rows = ledger.report().activations
    assert [(row["module"], row["kind"], row["bytes"]) for row in rows[:2]] == [
        ("1", "GELU", hidden),
        ("2", "Linear", hidden),
    ]


def test_views_and_shared_weights_count_once():
    linear = nn.Linear(8, 8, bias=False)
    model = nn.Sequential(linear, linear)
    with Ledger(model) as ledger:
        assert ledger.timeline.live_bytes == 8 * 8 * 4
        x = torch.ones(2, 8)
        before = ledger.timeline.live_bytes
        views = [x.view(4, 4), x[0], x.t(), x.detach()]
        assert ledger.timeline.live_bytes == before == 8 * 8 * 4 + x.nbytes
        del x, views
        assert ledger.timeline.live_bytes == 8 * 8 * 4


def test_features_by_declaration():
    model = chain()
    with Ledger(model) as ledger:
        with torch.no_grad():
            made = ledger.features(model[0](torch.ones(4, 16)))
        assert ledger.components()["features"] == made.nbytes
        given = ledger.features((torch.ones(3), torch.ones(5)))
        assert ledger.components()["features"] == made.nbytes + 8 * 4
        F.cross_entropy(model[2](made), torch.zeros(4, dtype=torch.long)).backward()
        assert ledger.components()["features"] == made.nbytes + 8 * 4 and len(given) == 2


def test_what_is_computed_without_gradient_is_not_kept():
    model = chain()
    with Ledger(model) as ledger, torch.no_grad():
        kept = model(torch.ones(4, 16))
        assert ledger.components()["activations"] == 0 and kept is not None
    assert not ledger.report().activations


def test_tensors_that_backward_has_used_are_no_longer_activations():
    model = chain()
    with Ledger(model) as ledger:
        hidden = model[1](model[0](ledger.declare(torch.ones(4, 16))))
        loss = model[2](hidden).sum()
        assert ledger.components()["activations"] == 2 * hidden.nbytes
        loss.backward()
        now = ledger.components()  # somebody still holds `hidden`; autograd does not
        assert now["activations"] == 0 and now["workspace"] >= hidden.nbytes
    assert ledger.timeline.curve()[-1]["activations"] == 0 and ledger.timeline.curve()[-1]["workspace"] >= hidden.nbytes


def test_a_checkpoint_keeps_less():
    class Checkpointed(nn.Module):
        def __init__(self, use: bool):
            super().__init__()
            self.layers = nn.ModuleList(
                nn.Sequential(nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 32)) for _ in range(4)
            )
            self.use = use

        def forward(self, x):
            for layer in self.layers:
                x = checkpoint(layer, x, use_reentrant=False) if self.use else layer(x)
            return x

    images, labels = torch.randn(16, 32), torch.arange(16)
    reports = {}
    for use in (False, True):
        model = Checkpointed(use)
        reports[use] = measure_step(model, images, labels, torch.optim.SGD(model.parameters(), lr=0.1))
    inputs = [row for row in reports[True].activations if row["module"] != "loss"]
    assert reports[True].kept < 0.3 * reports[False].kept
    assert sum(row["bytes"] for row in inputs) == 3 * images.nbytes  # blocks' inputs, the images being workspace
    assert reports[True].peak < reports[False].peak


def test_full_keeps_more_than_lora_and_a_linear_probe_nothing():
    full, lora, last, linear = (measured(tuned("vit", m)) for m in ("full", "lora", "last", "linear"))
    assert full.peak > lora.peak > last.peak > linear.peak
    assert full.kept > lora.kept > last.kept > linear.kept
    assert all(row["module"] in ("head", "loss") for row in linear.activations)
    assert not any(row["module"].startswith("blocks") for row in last.activations)
    assert full.components["frozen_weights"] == 0
    assert lora.components["optimizer"] == pytest.approx(2 * lora.components["trainable_weights"], rel=0.01)


def test_activations_are_split_by_block_with_a_reason_each():
    report = measured(tuned("vit", "full"))
    by_block = activations_by(report, "block")
    assert by_block["blocks.0"] == by_block["blocks.1"] == by_block["blocks.2"]
    assert sum(by_block.values()) == sum(activations_by(report, "kind").values()) == report.kept
    assert all(row["reason"] for row in report.activations)
    qkv = [row for row in report.activations if row["shape"] == [3, 4, 4, 17, 16]]
    assert len(qkv) == 3 and all("queries" in row["reason"] and row["bytes"] == 3 * 4 * 17 * 64 * 4 for row in qkv)
    assert {"GELU", "LayerNorm", "Linear", "Attention"} <= activations_by(report, "kind").keys()
    head = next(row for row in report.activations if row["module"] == "head")
    assert "view" in head["reason"]  # the class token is a view that keeps all normed tokens alive


def test_the_curve_names_phase_and_block_and_keeps_the_peak():
    report = measured(tuned("vit", "full"))
    assert 100 < len(report.curve) <= 240
    totals = [sum(point[name] for name in COMPONENTS) for point in report.curve]
    assert max(totals) == report.peak == sum(report.components.values())
    assert [p for p, _ in Counter(point["phase"] for point in report.curve).items()] == [
        "forward",
        "backward",
        "optimizer",
    ]
    times = [point["t"] for point in report.curve]
    assert times == sorted(times) and times[0] == 0 and times[-1] == 1
    for phase, order in (("forward", [0, 1, 2]), ("backward", [2, 1, 0])):
        seen = [block_of(p["where"]) for p in report.curve if p["phase"] == phase and block_of(p["where"])]
        assert list(dict.fromkeys(seen)) == [f"blocks.{i}" for i in order]


@pytest.mark.parametrize("method", ["full", "last"])
def test_the_ledger_changes_no_weight(method):
    models = [tuned("vit", method) for _ in range(2)]
    images, labels = batch_for(models[0])
    optimizers = [torch.optim.AdamW(m.trainable_parameters(), lr=1e-2) for m in models]
    for _ in range(2):
        with Ledger(models[0], optimizers[0]) as ledger:
            step(models[0], images, labels, optimizers[0], ledger)
        F.cross_entropy(models[1](images), labels).backward()
        optimizers[1].step()
        optimizers[1].zero_grad(set_to_none=True)
    pairs = list(zip(models[0].adapter_state().values(), models[1].adapter_state().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_ledger_leaves_nothing_behind():
    model, (images, labels) = chain(), (torch.randn(4, 16), torch.arange(4))
    optimizer = torch.optim.AdamW(model.parameters())
    gc.collect()
    gc.disable()
    try:
        with Ledger(model, optimizer) as ledger:
            step(model, images, labels, optimizer, ledger)
        gone = weakref.ref(ledger)
        del ledger
        assert gone() is None
    finally:
        gc.enable()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())
    assert not optimizer._optimizer_step_post_hooks


def test_a_tensor_changed_after_it_was_kept_is_still_an_error():
    model = chain()
    with Ledger(model):
        hidden = model[0](torch.ones(4, 16))
        out = model[1](hidden)
        hidden.mul_(2)
        with pytest.raises(RuntimeError, match="in place"):
            out.sum().backward()


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
    with pytest.raises(errors.InvalidSetting, match="tpu"):
        predicted_step(chain(), (1, 3, 8, 8), target="tpu")


def test_blocks_of_paths():
    paths = {
        "blocks.3.mlp.fc1": "blocks.3",
        "layers.1.blocks.0.attn.qkv": "layers.1.blocks.0",
        "side.2.1.norm": "side.2.1",
    }
    assert {path: block_of(path) for path in paths} == paths
    assert block_of("norm") == block_of("") == "" and block_of("layers.1.downsample.norm") == "layers.1"


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
