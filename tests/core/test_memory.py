"""Laws of the ledger: it counts exactly, changes nothing, and its prediction equals the measurement."""

from __future__ import annotations

import gc
import weakref
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from measuring import batch_for, chain, measured, tuned
from torch import nn
from torch.utils.checkpoint import checkpoint

from peftcore.bench._measure import measure_step
from peftcore.figures.kept_rows import activations_by
from peftcore.memory import COMPONENTS, Ledger, block_of

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_blocks_of_paths():
    paths = {
        "blocks.3.mlp.fc1": "blocks.3",
        "layers.1.blocks.0.attn.qkv": "layers.1.blocks.0",
        "side.2.1.norm": "side.2.1",
    }
    assert {path: block_of(path) for path in paths} == paths
    assert block_of("norm") == block_of("") == "" and block_of("layers.1.downsample.norm") == "layers.1"
