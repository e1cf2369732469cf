"""Frozen features: computed once, kept where there is room, never stale; training is the same with and without."""

from __future__ import annotations

import dataclasses
import errno
import logging

import numpy as np
import pytest
import torch
from backbones import small
from trainings import cut, drain

import peftcore as pc
from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.events import Evaluation, Progress, Started, Step
from peftcore.features import cache as caching
from peftcore.features import disk
from peftcore.features import plan as planning
from peftcore.features.cache import FeatureCache
from peftcore.features.disk import Shelf
from peftcore.features.plan import plan_cache
from peftcore.methods import make_method
from peftcore.task import load_task
from peftcore.train import loop

SIDE = ["last", "lst", "linear", "side_tuning"]


@pytest.fixture(autouse=True)
def _small_task(monkeypatch):
    """Digits cut to 40/12/8 images."""
    task = cut(load_task("digits"), 40, 12, 8)
    monkeypatch.setattr(loop, "load_task", lambda name: task)


@pytest.fixture
def forwards(monkeypatch):
    """Batch sizes that went through the frozen backbone; single images are proofs and estimates."""
    seen, taps = [], Backbone.taps

    def counted(self, images, points, **rest):
        seen.append(len(images))
        return taps(self, images, points, **rest)

    monkeypatch.setattr(Backbone, "taps", counted)
    return lambda: sum(n for n in seen if n > 1)


def pictures(n=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 48, 3), dtype=np.uint8)


def taps_of(backbone):
    return tuple(f"{block.path}:out" for block in backbone.blocks[1:3])


def filled(*given, **settings):
    cache = FeatureCache(*given, **settings)
    for _ in cache.fill():
        pass
    return cache


def spec(method="last", **changes):
    settings = dict(epochs=3, batch_size=16, seed=3, lr=3e-3, pretrained=False, device="cpu") | changes
    return pc.RunSpec(method=method, **settings)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("place", ["device", "host", "disk"])
def test_a_cache_gives_back_what_was_computed(place, precision):
    backbone, images = small("vit"), pictures()
    taps = (*taps_of(backbone), "pooled", "image")
    plain = filled(backbone, taps, images, "half", batch_size=4)
    cache = filled(backbone, taps, images, "half", batch_size=4, place=place, precision=precision)
    index = torch.tensor([4, 0, 5])
    for tap, got, exact in zip(taps, cache.batch(index, taps), plain.batch(index, taps), strict=True):
        assert got.dtype == torch.float32
        assert torch.equal(got, exact if precision == "fp32" else exact.bfloat16().float()), tap
    for a, b in zip(cache.batch(slice(2, 5), taps), cache.batch(torch.arange(2, 5), taps), strict=True):
        assert torch.equal(a, b)
    assert cache.nbytes * (2 if precision == "bf16" else 1) == plain.nbytes
    assert bool(cache.resident) == (place != "disk")


@pytest.mark.parametrize("family", ["vit", "swin"])
def test_two_batches_side_by_side_are_the_features_of_one_after_the_other(family):
    """On several threads; the twin that runs beside shares the weights and leaves no hook behind."""
    backbone, images, threads, found = small(family), pictures(11), torch.get_num_threads(), {}
    taps = (*taps_of(backbone), "pooled")
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found[count] = filled(backbone, taps, images, "half", batch_size=2).batch(slice(None), taps)
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(found[2], found[1])
    one, two = (dict(of.module.named_parameters()) for of in (backbone, caching._twin(backbone)))
    assert one.keys() == two.keys() and all(one[name] is two[name] for name in one)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in backbone.module.modules())


@pytest.mark.parametrize("method", SIDE)
@pytest.mark.parametrize("family", ["vit", "swin"])
def test_a_run_ends_with_the_same_weights(method, family):
    """To the bit where a matrix product gives a row the same bits whatever other rows are in it (as x86 kernels do);
    elsewhere to rounding, because the cache is filled in other batches than training reads."""
    results, backbone = {}, small(family)
    x = torch.randn(16, *backbone.input_size, generator=torch.Generator().manual_seed(0))
    exact = torch.equal(backbone.taps(x, ["pooled"])[0][5:13], backbone.taps(x[5:13], ["pooled"])[0])
    for wanted in (True, False, "disk"):
        events, model = drain(pc.finetune(spec(method, cache_features=wanted), backbone=backbone))
        results[wanted] = model.adapter_state(), [e.accuracy for e in events if isinstance(e, Evaluation)]
    for name, tensor in results[True][0].items():
        assert torch.equal(tensor, results["disk"][0][name]), name
        rtol, atol = (0, 0) if exact else (1e-3, 1e-4)
        torch.testing.assert_close(tensor, results[False][0][name], rtol=rtol, atol=atol, msg=name)
    assert results[True][1] == results["disk"][1] == results[False][1]


def test_epochs_after_the_first_never_run_the_backbone(forwards):
    drain(pc.finetune(spec(epochs=5), backbone=small("vit")))
    assert forwards() == 40 + 12 + 8, "train and val once, test at the end"


def test_the_next_run_reads_the_disk_even_with_another_seed_and_other_taps(forwards):
    backbone = small("vit")
    drain(pc.finetune(spec({"name": "last", "gap": 1}, cache_features="disk"), backbone=backbone))
    once = forwards()
    again, _ = drain(pc.finetune(spec({"name": "last", "gap": 2}, cache_features="disk", seed=8), backbone=backbone))
    assert forwards() == once + 8, "the test images alone"
    assert [e.done for e in again if isinstance(e, Progress)] == [40, 52]


def changed(what):
    """A cache like `one` with one thing changed, each of which changes the features."""
    backbone, images, settings = small("vit"), pictures(), dict(norm="half", precision="fp32", compute="fp32")
    if what == "weight":
        tensors = {n: t.clone() for n, t in backbone.module.state_dict().items()}
        tensors["blocks.0.attn.qkv.weight"][0, 0] += 0.5
        backbone = backbone.clone()
        backbone.module.load_state_dict(tensors, assign=True)
    elif what == "architecture":
        backbone = backbone.clone()
        backbone.module.blocks[0].norm1.eps = 0.1
    elif what == "image":
        images = images.copy()
        images[3, 0, 0, 0] ^= 255
    elif what == "order":
        images = images[::-1].copy()
    elif what == "normalisation":
        settings["norm"] = "imagenet"
    elif what == "numbers":
        backbone = dataclasses.replace(backbone, mean=(0.1, 0.2, 0.3))
        settings["norm"] = "backbone"
    elif what == "kept":
        settings["precision"] = "bf16"
    elif what == "computed":
        settings["compute"] = "bf16"
    return backbone, images, settings


THINGS = ["weight", "architecture", "image", "order", "normalisation", "numbers", "kept", "computed"]


def one(what, **rest):
    backbone, images, settings = changed(what)
    return FeatureCache(backbone, taps_of(backbone), images, **settings, place="disk", **rest)


@pytest.mark.parametrize("what", THINGS)
def test_a_stale_feature_is_never_used(what, forwards):
    list(one("nothing").fill())
    list(one("nothing").fill())
    assert forwards() == 6, "what is the same is computed once"
    cache = one(what)
    list(cache.fill())
    assert forwards() == 12, f"another {what}, other features"
    before, now = one("nothing").about(), one(what).about()
    assert all(before[tap] != now[tap] for tap in before) and len(Shelf().entries()) == 4
    backbone, images, settings = changed(what)
    fresh = filled(backbone, cache.taps, images, **settings)
    for tap in cache.taps:
        assert torch.equal(cache.tensors[tap], fresh.tensors[tap])


def test_weights_changed_in_place_are_seen():
    backbone = dataclasses.replace(small("vit").clone())
    own = {n: t.clone() for n, t in backbone.module.state_dict().items()}
    backbone.module.load_state_dict(own, assign=True)
    cache = FeatureCache(backbone, ("pooled",), pictures(), "half")
    before, _ = cache.about()["pooled"], backbone.fingerprint
    backbone.module.norm.weight.data[0] += 1
    assert cache.about()["pooled"] != before


def test_keys_name_the_tap_the_versions_and_the_device(monkeypatch):
    cache = one("nothing")
    first, second = cache.about().values()
    assert first != second
    for module in (torch, caching.timm):
        with monkeypatch.context() as patch:
            patch.setattr(module, "__version__", "0.0")
            assert one("nothing").about()[cache.taps[0]] != first


@pytest.mark.parametrize("damage", ["truncated", "longer", "altered", "header", "empty", "swapped"])
def test_a_damaged_file_is_reported_and_computed_again(damage, forwards, caplog):
    good = one("nothing")
    list(good.fill())
    tap, other = good.taps
    shelf = Shelf()
    path = shelf.path(good.about()[tap])
    data = bytearray(path.read_bytes())
    exact = {tap: tensor.clone() for tap, tensor in good.tensors.items()}
    if damage == "truncated":
        data = data[:-5]
    elif damage == "longer":
        data += b"12345"
    elif damage == "altered":
        data[-7] ^= 1
    elif damage == "header":
        data[:3] = b"\xff\xff\xff"
    elif damage == "empty":
        data = b""
    else:
        data = shelf.path(good.about()[other]).read_bytes()
    path.unlink()
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        again = one("nothing")
        list(again.fill())
    assert "computed anew" in caplog.text and str(path) in caplog.text
    assert forwards() == 12
    assert all(torch.equal(again.tensors[t], exact[t]) for t in exact)


def test_a_full_disk_is_a_sentence_and_leaves_no_half_file(monkeypatch):
    def full(self, rows):
        if self.path.exists() or self._file.tell() > 4096:
            raise errors.StoreUnavailable("unused")
        self._file = Full(self._file)
        real(self, rows)

    class Full:
        def __init__(self, file):
            self._real = file

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name):
            return getattr(self._real, name)

    real = disk.Writer.write
    monkeypatch.setattr(disk.Writer, "write", full)
    with pytest.raises(errors.StoreUnavailable, match=r"No space left on device.*HEADROOM_HOME"):
        list(one("nothing").fill())
    assert not list(Shelf().folder.iterdir())
    with pytest.raises(errors.StoreUnavailable, match="No space left"):
        drain(pc.finetune(spec(cache_features="disk"), backbone=small("vit")))


def test_a_run_that_is_stopped_leaves_no_half_file():
    events = one("nothing", batch_size=2).fill()
    next(events)
    assert len(list(Shelf().folder.iterdir())) == 2
    events.close()
    assert not list(Shelf().folder.iterdir())


def test_the_least_recently_used_go_first():
    caches = [one(what) for what in ("nothing", "image", "normalisation")]
    list(caches[0].fill())
    size = sum(entry.bytes for entry in Shelf().entries())
    for age, cache in enumerate(caches[1:]):
        list(one("nothing", shelf=Shelf(limit=2 * size)).fill())  # used again and again
        list(FeatureCache(cache.backbone, cache.taps, cache.images, cache.norm, place="disk",
                          shelf=Shelf(limit=2 * size)).fill())  # fmt: skip
        assert len(Shelf().entries()) == 4, age
    there = {entry.path for entry in Shelf().entries()}
    paths = [{Shelf().path(about) for about in cache.about().values()} for cache in caches]
    assert paths[0] <= there and paths[2] <= there and not paths[1] & there
    with pytest.raises(errors.StoreUnavailable, match="GB are needed"):
        list(one("order", shelf=Shelf(limit=size // 2)).fill())
    assert there == {entry.path for entry in Shelf().entries()}
    assert Shelf().clear() > 0 and not Shelf().entries()


def model_of(method="last"):
    return pc.attach(small("vit"), make_method(method), 10)


def test_the_plan_goes_down_the_places(monkeypatch):
    model, mb = model_of("linear"), 1e6
    need = 10_000 * model.backbone.width * 4

    def plan(**changes):
        return plan_cache(model, 10_000, spec("linear", **changes))

    for room, expected in (((need, need), "host"), ((need - 1, need), "disk"), ((0, need - 1), "none")):
        monkeypatch.setattr(planning, "budgets", lambda _, r=room: dict(zip(("host", "disk"), r, strict=True)))
        made = plan()
        assert made.place == expected and made.bytes == need and f"{need / mb:,.1f} MB" in made.why
        assert plan(cache_precision="bf16").bytes == need // 2
        assert plan(cache_features="disk").place == "disk" if expected != "none" else True
    with pytest.raises(errors.OutOfMemory, match="fit nowhere.*HEADROOM_CACHE_GB"):
        plan(cache_features=True)
    with pytest.raises(errors.OutOfMemory, match="fit nowhere"):
        plan(cache_features="disk")
    assert plan(cache_features=False).place == "none"


def test_budgets_are_settings(monkeypatch):
    monkeypatch.setenv("HEADROOM_CACHE_GB", "0.001")
    monkeypatch.setenv("HEADROOM_CACHE_DISK_GB", "0.002")
    assert planning.budgets("cpu") == {"host": 1_000_000, "disk": 2_000_000}
    for wrong in ("much", "-1", "inf", "nan"):
        monkeypatch.setenv("HEADROOM_CACHE_DISK_GB", wrong)
        with pytest.raises(errors.InvalidSetting, match="HEADROOM_CACHE_DISK_GB=.* is not a size"):
            planning.budgets("cpu")


@pytest.mark.parametrize("method", SIDE)
def test_the_plan_on_meta_is_what_a_run_keeps(method):
    backbone = pc.load_backbone("vit_micro", pretrained=False, device="meta")
    planned = plan_cache(pc.attach(backbone, make_method(method), 10), 52, spec(method, backbone="vit_micro"))
    events, _ = drain(pc.finetune(spec(method, backbone="vit_micro", epochs=1)))
    recorded = next(e for e in events if isinstance(e, Started)).settings["features"]
    assert recorded["bytes"] == planned.bytes > 0 and recorded["place"] == planned.place == "host"


def test_a_run_reports_where_its_features_are(monkeypatch):
    def plan_of(method="last", **changes):
        events, _ = drain(pc.finetune(spec(method, epochs=1, **changes), backbone=small("vit")))
        assert any(isinstance(e, Step) for e in events)
        return next(e for e in events if isinstance(e, Started)).settings["features"]

    assert "changes the backbone" in plan_of("lora")["why"] and plan_of("lora")["place"] == "none"
    assert "augmented anew" in plan_of(augmentation="light")["why"]
    assert "is off" in plan_of(cache_features=False)["why"]
    monkeypatch.setenv("HEADROOM_CACHE_GB", "0")
    assert plan_of()["place"] == "disk"
    monkeypatch.setenv("HEADROOM_CACHE_DISK_GB", "0")
    assert plan_of()["place"] == "none" and "fit nowhere" in plan_of()["why"]
