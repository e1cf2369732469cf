"""The loop: deterministic, resumable to the bit, closable, honest about bad numbers. Runs on part of a real task."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from backbones import images, nudge, small
from trainings import cut, drain

import peftcore as pc
from peftcore import errors
from peftcore.events import Checkpoint, Evaluation, Finished, Progress, Scores, Started, Step, StepMemory
from peftcore.task import load_task
from peftcore.train import loop, trainer


@pytest.fixture(autouse=True)
def _small_task(monkeypatch):
    """Digits cut to 48/16/16 images."""
    task = cut(load_task("digits"), 48, 16, 16)
    monkeypatch.setattr(loop, "load_task", lambda name: task)


def spec(method="last", **changes):
    settings = dict(epochs=3, batch_size=16, seed=3, lr=3e-3, pretrained=False) | changes
    return pc.RunSpec(method=method, **settings)


def weights(model):
    return {n: t.numpy().tobytes() for n, t in model.adapter_state().items()}


@pytest.mark.parametrize("method", ["last", {"name": "lora", "dropout": 0.3}, "full", "linear"])
@pytest.mark.parametrize("family", ["vit", "swin"])
def test_same_spec_same_weights_and_resume_ends_there_too(method, family):
    backbone, s = small(family), spec(method)
    first, model = drain(pc.finetune(s, backbone=backbone))
    torch.rand(7)  # random numbers drawn elsewhere change nothing
    events = pc.finetune(s, backbone=backbone)
    seen = []
    for event in events:
        torch.rand(1)
        seen.append(event)
        if isinstance(event, Checkpoint):
            break
    events.close()
    rest, resumed = drain(pc.finetune(s, resume=seen[-1].blob, backbone=backbone))
    assert weights(resumed) == weights(model)
    assert rest[-1].test_accuracy == first[-1].test_accuracy and len(rest[-1].epochs) == 3
    losses = [e.loss for e in first if isinstance(e, Step)]
    assert [e.loss for e in seen + rest if isinstance(e, Step)] == losses
    other, _ = drain(pc.finetune(spec(method, seed=4), backbone=backbone))
    assert [e.loss for e in other if isinstance(e, Step)] != losses


def test_events_tell_the_whole_story():
    events, model = drain(pc.finetune(spec("lora"), backbone=small("vit")))
    assert isinstance(events[0], Started) and isinstance(events[-1], Finished)
    steps = [e for e in events if isinstance(e, Step)]
    assert [e.step for e in steps] == list(range(1, 10)) == list(range(1, events[0].steps + 1))
    assert [e.split for e in events if isinstance(e, Evaluation)] == ["val"] * 3 + ["test"]
    assert len([e for e in events if isinstance(e, Scores)]) == 3
    assert len([e for e in events if isinstance(e, Checkpoint)]) == 2
    memory = next(e for e in events if isinstance(e, StepMemory))
    facts = {name: memory.report[name] for name in ("device", "precision", "batch_size")}
    assert facts == {
        "device": "cpu",
        "precision": events[0].spec["precision"],
        "batch_size": events[0].spec["batch_size"],
    }
    assert {p["phase"] for p in memory.report["curve"]} == {"forward", "backward", "optimizer"}
    assert steps[-1].loss < steps[0].loss and steps[-1].lr < steps[3].lr
    assert events[0].parameters == model.parameter_counts()
    assert events[0].settings["model_selection"] == "last epoch"


def test_run_returns_the_result():
    result = pc.run(spec("linear"), backbone=small("vit"))
    assert 0 <= result.test_accuracy <= 1 and 0 <= result.val_accuracy <= 1
    assert list(result.epochs.columns) == ["epoch", "seconds", "train_loss", "val_accuracy"] and len(result.epochs) == 3
    assert result.memory["peak"] > 0 and result.model.parameter_counts()["method"] == 0


@pytest.mark.parametrize("method", ["last", "linear"])
def test_cached_features_end_with_the_same_weights(method):
    """Equal to rounding: a matrix product over another batch may sum in another order."""
    cached, a = drain(pc.finetune(spec(method, cache_features=True), backbone=small("vit")))
    _, b = drain(pc.finetune(spec(method, cache_features=False), backbone=small("vit")))
    assert any(isinstance(e, Progress) for e in cached)
    for name, tensor in a.adapter_state().items():
        torch.testing.assert_close(tensor, b.adapter_state()[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_cache_that_cannot_be_is_refused():
    with pytest.raises(errors.InvalidSetting, match="changes the backbone"):
        drain(pc.finetune(spec("lora", cache_features=True), backbone=small("vit")))
    with pytest.raises(errors.InvalidSetting, match="augmented anew"):
        drain(pc.finetune(spec("last", cache_features=True, augmentation="light"), backbone=small("vit")))


def test_nan_names_step_and_remedy():
    backbone = small("vit").clone()
    backbone.module.norm.weight = torch.nn.Parameter(torch.full((32,), float("nan")), requires_grad=False)
    with pytest.raises(errors.Diverged, match=r"loss became nan at step 1 of 9 .* lower learning rate than 0.003"):
        drain(pc.finetune(spec("linear"), backbone=backbone))


def test_out_of_memory_names_remedies(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(loop.F, "cross_entropy", full)
    with pytest.raises(errors.OutOfMemory, match="batch smaller than 16.*bf16.*side method"):
        drain(pc.finetune(spec("lora"), backbone=small("vit")))


def norms_of_updates(monkeypatch) -> list[float]:
    """Records the gradient norm of each step as the optimizer sees it, from now on."""
    seen, step = [], torch.optim.AdamW.step

    def noted(self, *args):
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        seen.append(torch.nn.utils.get_total_norm(gradients).item())
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    return seen


@pytest.mark.parametrize("method", ["last", {"name": "lora", "dropout": 0.3}, "heart_lora"])
def test_clipped_gradients_are_no_longer_than_clip(method, monkeypatch):
    """Events keep the norm before clipping; a resumed run reaches the same weights."""
    backbone = small("vit")
    plain, _ = drain(pc.finetune(spec(method), backbone=backbone))
    norms = [e.grad_norm for e in plain if isinstance(e, Step)]
    clip = float(np.median(norms))
    seen = norms_of_updates(monkeypatch)
    events, model = drain(pc.finetune(spec(method, clip=clip), backbone=backbone))
    steps = [e for e in events if isinstance(e, Step)]
    assert len(seen) == len(steps) and max(seen) <= clip * (1 + 1e-5)
    for step, norm in zip(steps, seen, strict=True):
        assert norm == pytest.approx(min(step.grad_norm, clip), rel=1e-4)
    assert steps[0].grad_norm == norms[0] and any(step.grad_norm > clip for step in steps)
    blob = next(e.blob for e in events if isinstance(e, Checkpoint))
    assert weights(drain(pc.finetune(spec(method, clip=clip), resume=blob, backbone=backbone))[1]) == weights(model)


@pytest.mark.parametrize("method", ["last", "lora"])
def test_a_clip_that_nothing_reaches_changes_no_bit(method):
    backbone = small("vit")
    models = [drain(pc.finetune(spec(method, clip=clip), backbone=backbone))[1] for clip in (None, 1e4)]
    assert weights(models[0]) == weights(models[1])


def test_a_checkpoint_of_another_spec_is_refused():
    events = pc.finetune(spec(), backbone=small("vit"))
    blob = next(e for e in events if isinstance(e, Checkpoint)).blob
    events.close()
    with pytest.raises(errors.AdapterMismatch, match="another RunSpec"):
        drain(pc.finetune(spec(seed=9), resume=blob, backbone=small("vit")))
    with pytest.raises(errors.BadAdapter):
        drain(pc.finetune(spec(), resume=blob[:-100], backbone=small("vit")))


def test_augmentation_is_seeded_and_changes_pixels():
    from peftcore.backbone.preprocess import augment_light

    x = torch.randn(6, 3, 32, 32)
    a, b = (augment_light(x, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a, x) and a.shape == x.shape
    first, _ = drain(pc.finetune(spec("linear", augmentation="light"), backbone=small("vit")))
    again, _ = drain(pc.finetune(spec("linear", augmentation="light"), backbone=small("vit")))
    assert [e.loss for e in first if isinstance(e, Step)] == [e.loss for e in again if isinstance(e, Step)]


def test_preprocessing_against_pillow():
    """Bicubic with antialiasing and normalisation, next to Pillow's own."""
    from PIL import Image

    from peftcore.backbone.preprocess import prepare

    backbone = small("swin")  # 32 x 32
    image = load_task("digits").train.images[0]
    x = prepare(image[None], backbone, "none")[0].permute(1, 2, 0).numpy() * 255
    pillow = np.asarray(Image.fromarray(image).resize((32, 32), Image.BICUBIC), dtype=np.float32)
    assert np.abs(x - pillow).max() < 1.5
    half, own = (prepare(image[None], backbone, n)[0, :, 0, 0] for n in ("half", "backbone"))
    raw = torch.from_numpy(x[0, 0]) / 255
    torch.testing.assert_close(half, (raw - 0.5) / 0.5)
    torch.testing.assert_close(own, (raw - torch.tensor(backbone.mean)) / torch.tensor(backbone.std))
    with pytest.raises(errors.BadData, match="uint8"):
        prepare(image[None].astype(np.float32), backbone)


@pytest.mark.parametrize("steps, warmup", [(10, 0.1), (10, 0.5), (1, 0.0), (100, 0.25)])
def test_learning_rate_rises_then_falls_to_nearly_zero(steps, warmup):
    s = spec(warmup=warmup, lr=1.0)
    rates = [trainer.learning_rate(i, steps, s) for i in range(1, steps + 1)]
    peak = rates.index(max(rates))
    assert max(rates) <= 1.0 and rates[peak] == pytest.approx(1.0)
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)


def test_no_such_device():
    with pytest.raises(errors.InvalidSetting, match="'auto' or 'cpu'"):
        trainer.choose_device("xpuu")


def test_compile_is_refused_for_side_methods():
    with pytest.raises(errors.InvalidSetting, match="in-backbone"):
        pc.RunSpec(method="last", compile=True)


def test_a_compiled_run_trains_through_the_compiled_model(monkeypatch):
    """The steps call the result of torch.compile, except traced ones; here it is the model itself."""
    calls = []
    monkeypatch.setattr(torch, "compile", lambda model: lambda x: calls.append(len(x)) or model(x))
    monkeypatch.setattr(trainer, "TRACED", 1)
    plain, fast = (pc.run(spec({"name": "lora", "rank": 2}, epochs=1, compile=c)) for c in (False, True))
    assert calls and plain.test_accuracy == fast.test_accuracy


def test_where_nothing_can_be_compiled_the_run_reports_it(monkeypatch):
    from torch._dynamo.exc import TorchDynamoException

    def broken(model):
        def call(x):
            raise TorchDynamoException("no C++ compiler.")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(trainer, "TRACED", 1)
    with pytest.raises(errors.InvalidSetting, match=r"no C\+\+ compiler"):
        pc.run(spec({"name": "lora", "rank": 2}, compile=True))


@pytest.mark.parametrize("method", ["lora", "serial_lora"])
def test_a_traced_model_has_the_same_logits_and_gradients(method):
    """By the tracer and autograd of torch.compile, without a compiler."""
    model = nudge(pc.attach(small("vit"), method, 3))
    x, found = images(model.backbone), []
    for run in (model, torch.compile(model, backend="aot_eager")):
        logits = run(x)
        found.append((logits, *torch.autograd.grad(logits.square().sum(), model.trainable_parameters())))
    torch.testing.assert_close(*found)
