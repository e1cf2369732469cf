"""From pixels to inputs: resizing against timm's own evaluation, reproducible augmentation that keeps labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from backbones import small
from trainings import drain

import peftcore as pc
from peftcore import errors
from peftcore.backbone.preprocess import augment_light, augmented, covering, prepare, rand_augment
from peftcore.events import Checkpoint, Evaluation, Step
from peftcore.features.cache import FeatureCache
from peftcore.store import conditions
from peftcore.task import SYMMETRIES, Split, load_task, task_card
from peftcore.train import loop
from peftcore.train.trainer import Trainer


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


# ------------------------------------------------------------------------------------------------- resize


@pytest.mark.parametrize("image", [(64, 64), (50, 70), (90, 33), (20, 24)])
@pytest.mark.parametrize("share", [0.875, 0.9, 0.95, 1.0])
def test_crop_is_what_timm_evaluates_with(image, share):
    from torchvision.transforms import v2

    backbone = dataclasses.replace(small("swin"), crop_pct=share)  # 32 x 32
    pixels = noise(2, *image)
    found = prepare(pixels, backbone, "none", resize="crop")
    steps = v2.Compose([v2.Resize(int(32 / share), v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(32)])
    expected = steps(torch.from_numpy(pixels).permute(0, 3, 1, 2).float()).clamp(0, 255) / 255
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("image", [(64, 64), (31, 200), (200, 31), (32, 48), (1, 1)])
@pytest.mark.parametrize("resize", ["stretch", "crop"])
def test_inputs_always_have_the_size_of_the_backbone(image, resize):
    backbone = dataclasses.replace(small("vit"), crop_pct=0.9)  # 32 x 48
    x = prepare(noise(1, *image), backbone, "none", resize=resize)
    assert x.shape == (1, 3, 32, 48) and x.is_contiguous() and x.min() >= 0 and x.max() <= 1
    height, width = covering(image, (32, 48), 0.9)
    assert height >= 35 and width >= 53 and min(height / 35, width / 53) < 1.05


def test_images_of_the_backbones_size_stay_as_they_are():
    backbone = dataclasses.replace(small("swin"), crop_pct=0.5)
    pixels = noise(2, 32, 32)
    for resize in ("stretch", "crop"):
        x = prepare(pixels, backbone, "none", resize=resize)
        assert torch.equal(x.mul(255).round().permute(0, 2, 3, 1).to(torch.uint8), torch.from_numpy(pixels))


def test_the_share_that_is_cropped_is_the_backbones_own():
    assert small("swin").crop_pct == 0.9  # timm's swin_tiny_patch4_window7_224


def test_the_defaults_are_what_they_always_were_to_the_bit():
    """One bicubic call and one division; shifts first, then mirrors, from one stream of random numbers."""
    backbone, pixels = small("vit"), noise(8, 50, 60)
    x = torch.tensor(pixels).permute(0, 3, 1, 2).float()
    x = torch.nn.functional.interpolate(x, (32, 48), mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (backbone.mean, backbone.std))
    assert torch.equal(prepare(pixels, backbone), (x / 255 - mean) / std)
    x, draws = prepare(pixels, backbone), generator()
    shifts, mirror = torch.randint(0, 7, (8, 2), generator=draws), torch.rand(8, generator=draws) < 0.5
    padded = torch.nn.functional.pad(x, (3,) * 4, mode="replicate")
    for i, (dy, dx) in enumerate(shifts.tolist()):
        one = padded[i, :, dy : dy + 32, dx : dx + 48]
        expected = one.flip(-1) if mirror[i] else one
        assert torch.equal(augment_light(x, generator())[i], expected)


# ------------------------------------------------------------------------------------------- augmentation


@pytest.mark.parametrize("how", ["light", "randaugment"])
def test_equal_generators_make_equal_images_and_nobody_elses_numbers_change(how):
    backbone, pixels = small("swin"), noise(8, 40, 40)
    state = torch.random.get_rng_state()
    made = []
    for seed in (1, 1, 2):
        made.append(augmented(pixels, backbone, "backbone", "cpu", "stretch", how, generator(seed)))
        assert torch.equal(torch.random.get_rng_state(), state), "the global generator is as it was"
        torch.rand(3)
        state = torch.random.get_rng_state()
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    plain = prepare(pixels, backbone)
    assert not torch.equal(made[0], plain) and made[0].shape == plain.shape and made[0].dtype == plain.dtype
    none = augmented(pixels, backbone, "backbone", "cpu", "stretch", "none", generator())
    assert torch.equal(none, plain)


def test_light_does_what_keeps_the_labels_and_no_more():
    x = torch.randn(32, 3, 32, 32)
    assert torch.equal(augment_light(x, generator(), ()), x)
    mirrored = augment_light(x, generator(), ("mirror",))
    each = [torch.equal(a, b) + 2 * torch.equal(a, b.flip(-1)) for a, b in zip(mirrored, x, strict=True)]
    assert set(each) == {1, 2}, "each is itself or its mirror image"
    # A column of its own colour on the left stays left of the middle wherever it is shifted to.
    x = torch.zeros(32, 3, 32, 32)
    x[..., 4] = 1.0
    shifted = augment_light(x, generator(), ("shift",))
    assert set(shifted[:, 0, 16].argmax(-1).tolist()) <= set(range(2, 7)) and not torch.equal(shifted, x)
    # What is allowed alone does what it does beside the other.
    both = augment_light(x, generator())
    assert torch.equal(both, torch.where((both == shifted).flatten(1).all(1).view(-1, 1, 1, 1), both, shifted.flip(-1)))


def test_randaugment_turns_and_moves_nothing_where_labels_forbid_it():
    x = torch.full((64, 3, 33, 33), 40.0)
    x[:, :, 4, 20] = 220.0  # a dot, whatever its colour becomes, and however much its edge is sharpened

    def centres(symmetries):
        made = rand_augment(x, generator(), (0.5, 0.5, 0.5), symmetries)[:, 0]
        weight = (made - made.flatten(1).median(1).values.view(-1, 1, 1)).abs()
        weight = weight[weight.sum((1, 2)) > 0]
        rows, columns = ((weight.sum(2 - d) * torch.arange(33)).sum(1) / weight.sum((1, 2)) for d in (0, 1))
        return set(zip(rows.round().int().tolist(), columns.round().int().tolist(), strict=True))

    assert centres(("mirror", "shift")) == {(4, 20)}
    assert len(centres(SYMMETRIES)) > 5


def test_every_task_states_which_changes_keep_its_labels():
    for name in pc.tasks():
        symmetries = task_card(name).symmetries
        assert symmetries is None or set(symmetries) <= set(SYMMETRIES), name
    assert load_task("digits").symmetries == task_card("digits").symmetries == ("shift", "warp")


# -------------------------------------------------------------------------------------------------- runs


@pytest.fixture
def digits(monkeypatch):
    """Digits cut to 48/16/16 images; returns a function that changes the task."""

    def cut(split, n):
        return Split(split.images[:n], split.labels[:n])

    whole = load_task("digits")
    task = dataclasses.replace(whole, train=cut(whole.train, 48), val=cut(whole.val, 16), test=cut(whole.test, 16))

    def use(task):
        monkeypatch.setattr(loop, "load_task", lambda name: task)

    use(task)
    return task, use


def spec(method="last", **changes):
    return pc.RunSpec(method=method, **(dict(epochs=3, batch_size=16, seed=3, lr=3e-3, pretrained=False) | changes))


def same(one, other) -> bool:
    a, b = one.adapter_state(), other.adapter_state()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", ["linear", {"name": "lora", "rank": 2, "dropout": 0.3}])
def test_a_resumed_run_with_randaugment_ends_with_the_same_weights(digits, method):
    backbone, s = small("swin"), spec(method, augmentation="randaugment", resize="crop", select="val")
    first, model = drain(pc.finetune(s, backbone=backbone))
    blob = next(e for e in first if isinstance(e, Checkpoint)).blob
    torch.rand(5)
    rest, resumed = drain(pc.finetune(s, resume=blob, backbone=backbone))
    assert same(model, resumed) and rest[-1].selected_epoch == first[-1].selected_epoch
    losses = [e.loss for e in first if isinstance(e, Step)]
    assert [e.loss for e in rest if isinstance(e, Step)] == losses[3:]


def test_cached_features_of_cropped_images_are_those_that_are_computed(digits):
    task, backbone = digits[0], dataclasses.replace(small("swin"), crop_pct=0.8)
    images = task.val.images
    caches = {how: FeatureCache(backbone, ("pooled",), images, "backbone", resize=how) for how in ("stretch", "crop")}
    assert caches["stretch"].about() != caches["crop"].about(), "features on disk are told apart"
    for how, cache in caches.items():
        list(cache.fill())
        computed = backbone.taps(prepare(images, backbone, resize=how), ("pooled",))[0]
        torch.testing.assert_close(cache.batch(slice(None), ("pooled",))[0], computed)
    assert not torch.allclose(caches["stretch"].tensors["pooled"], caches["crop"].tensors["pooled"])
    made = [pc.run(spec(resize="crop", cache_features=kept, epochs=1), backbone=backbone) for kept in (True, False)]
    for name, tensor in made[0].model.adapter_state().items():
        torch.testing.assert_close(tensor, made[1].model.adapter_state()[name], rtol=1e-3, atol=1e-5)


def validation_accuracy(model, task, backbone) -> float:
    with torch.no_grad():
        found = [model.eval()(prepare(task.val.images[i : i + 16], backbone)) for i in range(0, len(task.val), 16)]
    return float((torch.cat(found).argmax(1).numpy() == task.val.labels).mean())


@pytest.mark.parametrize("family", ["vit", "swin"])
@pytest.mark.parametrize("method", ["last", {"name": "lora", "rank": 2}, "full"])
def test_selecting_by_val_returns_the_weights_of_the_best_epoch(digits, family, method):
    task, backbone = digits[0], small(family)
    # A rate so high that accuracy goes up and down, so that the last epoch is not the best by itself.
    s = spec(method, epochs=6, lr=0.05, warmup=0, select="val")
    events, model = drain(pc.finetune(s, backbone=backbone))
    curve = [e.accuracy for e in events if isinstance(e, Evaluation) and e.split == "val"]
    end = events[-1]
    assert validation_accuracy(model, task, backbone) == max(curve) == end.val_accuracy
    assert end.selected_epoch == 1 + curve.index(max(curve)), "of equals, the earlier one"
    test = events[-2]
    assert (test.split, test.epoch, test.step) == ("test", end.selected_epoch, 3 * end.selected_epoch)
    reloaded = pc.adapters.from_bytes(end.blob, backbone)
    assert same(reloaded, model)
    last, other = drain(pc.finetune(s.replace(select="last"), backbone=backbone))
    assert last[-1].selected_epoch == 6 and last[-1].val_accuracy == curve[-1]
    assert [e.loss for e in last if isinstance(e, Step)] == [e.loss for e in events if isinstance(e, Step)]


def test_ties_go_to_the_earlier_epoch_and_a_resumed_run_knows_its_best(digits, monkeypatch):
    accuracies = iter([0.5, 0.75, 0.75, 0.25, 0.25])
    evaluate = Trainer.evaluate

    def scripted(self, name, epoch):
        found = evaluate(self, name, epoch)
        return dataclasses.replace(found, accuracy=next(accuracies)) if name == "val" else found

    monkeypatch.setattr(Trainer, "evaluate", scripted)
    s = spec("linear", epochs=4, select="val")
    events, model = drain(pc.finetune(s, backbone=small("vit")))
    assert events[-1].selected_epoch == 2 and events[-1].val_accuracy == 0.75
    third = [e for e in events if isinstance(e, Checkpoint)][2].blob  # the best is behind it
    rest, resumed = drain(pc.finetune(s, resume=third, backbone=small("vit")))
    assert rest[-1].selected_epoch == 2 and same(model, resumed)


def test_heart_lora_selects_among_epochs_with_its_heads_off(digits):
    s = spec({"name": "heart_lora", "rank": 2, "warmup_epochs": 2}, epochs=4, lr=0.05, select="val")
    events, model = drain(pc.finetune(s, backbone=small("vit")))
    curve = [e.accuracy for e in events if isinstance(e, Evaluation) and e.split == "val"]
    assert events[-1].selected_epoch == 2 + 1 + curve[2:].index(max(curve[2:])) or curve[1] >= max(curve[2:])
    assert events[-1].selected_epoch >= 2
    assert not all(mask.all() for name, mask in model.adapter_state().items() if name.endswith("heads_on"))


def test_a_race_selects_what_each_would_alone(digits):
    racers = [spec("linear", epochs=4, lr=lr, select="val", warmup=0) for lr in (0.3, 0.01)]
    alone = [pc.run(racer) for racer in racers]
    together = pc.race(racers)
    assert [r.selected_epoch for r in together] == [r.selected_epoch for r in alone]
    for one, other in zip(together, alone, strict=True):
        for name, tensor in one.model.adapter_state().items():
            assert torch.allclose(tensor, other.model.adapter_state()[name], rtol=1e-5, atol=1e-6)


class Sealed:
    """Images that may not be read before the seal is broken."""

    def __init__(self, images):
        self.images, self.shape, self.sealed = images, images.shape, True

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        assert not self.sealed, "the test images were looked at before the end"
        return self.images[index]


@pytest.mark.parametrize("select", ["last", "val"])
@pytest.mark.parametrize("method", ["last", "lora"])
def test_nobody_looks_at_the_test_images_before_training_is_over(digits, method, select):
    task, use = digits
    sealed = Sealed(task.test.images)
    use(dataclasses.replace(task, test=Split(sealed, task.test.labels)))
    steps = 0
    for event in pc.finetune(spec(method, epochs=2, select=select), backbone=small("vit")):
        if isinstance(event, Step):
            steps += 1
        if isinstance(event, Evaluation) and event.split == "val" and steps == 6:
            sealed.sealed = False  # the last event before the test
    assert steps == 6 and not sealed.sealed


def test_selecting_by_images_that_were_trained_on_is_refused(digits):
    task, use = digits
    use(dataclasses.replace(task, val_is_new=False))
    with pytest.raises(errors.InvalidSetting, match="select='val' is not possible .* trains on its validation images"):
        pc.run(spec(select="val"))
    assert pc.run(spec("linear", epochs=1)).selected_epoch == 1


# -------------------------------------------------------------------------------------------------- words


def test_conditions_in_words():
    plain = pc.RunSpec().to_dict()
    assert conditions.words(plain) == (
        "images stretched to the backbone's size where they have another (bicubic), the backbone's normalisation, "
        "no augmentation, last epoch"
    )
    assert conditions.words(plain, (64, 64), (64, 64)).startswith("64 x 64 images as they are, ")
    changed = pc.RunSpec(resize="crop", normalisation="half", augmentation="light", select="val").to_dict()
    assert conditions.words(changed, (64, 64), (32, 48)) == (
        "64 x 64 images resized and cropped to 32 x 48 (bicubic), normalisation by 0.5/0.5, light augmentation "
        "(shift), best epoch by validation accuracy"
    )
    older = {name: value for name, value in plain.items() if name not in ("resize", "select")}
    assert conditions.words(older) == conditions.words(plain)
    assert conditions.in_common([plain, {**plain, "augmentation": "randaugment"}]) == (
        "images stretched to the backbone's size where they have another (bicubic), the backbone's normalisation, "
        "last epoch"
    )
    folder = {**plain, "task": "vtab:/data/x", "augmentation": "light"}
    assert "light augmentation (shift and mirror, where labels bear them)" in conditions.words(folder)
    assert "light augmentation (nothing that keeps these labels)" in conditions.words(folder, symmetries=())
    assert "no such task" not in conditions.words({**folder, "task": "gone"})


@pytest.mark.parametrize("task", ["vtab:/x", "fewshot:/x", "folder:/x", "upload:x", "torchvision:DTD", "hf:a/b"])
def test_files_were_resized_to_one_size_and_that_is_reported(task):
    """Whatever a backbone of that size then does with them, they are never used as they are."""

    def words(query="", size=None, image=(224, 224), **said):
        return conditions.part({"task": task + query, **said}, "resize", size and image, size)

    assert words("", (224, 224)) == "images stretched to 224 x 224 (bicubic)"
    assert words("?size=224&fit=crop", (224, 224)) == "images resized and cropped to 224 x 224 (bicubic)"
    assert (
        words("?fit=crop", (64, 64)) == "images resized and cropped to 224 x 224, then stretched to 64 x 64 (bicubic)"
    )
    assert (
        words("", (64, 64), resize="crop")
        == "images stretched to 224 x 224, then resized and cropped to 64 x 64 (bicubic)"
    )
    assert words().startswith(
        "images stretched to one size, then stretched to the backbone's size where they have another"
    )


def test_conditions_common_to_a_race_come_from_its_runs():
    specs = [pc.RunSpec(task="vtab:/x", augmentation="light", lr=lr).to_dict() for lr in (0.1, 0.2, 0.3)]
    begun = {"settings": {"image_size": [32, 32], "input_size": [64, 64], "symmetries": ["shift"]}}
    common = conditions.in_common(specs, [None, begun, begun])  # the first has not begun
    assert common == conditions.of_run(specs[1], begun) and "(shift)" in common
    other = {"settings": {**begun["settings"], "input_size": [32, 32]}}
    assert "then" not in conditions.in_common(specs, [None, begun, other])
    assert "augmentation" not in conditions.in_common(
        [{**specs[0], "augmentation": "none"}, *specs[1:]], [None, begun, begun]
    )


def test_a_run_tells_its_conditions(digits):
    started = next(pc.finetune(spec(augmentation="light"), backbone=small("swin"))).to_dict()
    words = conditions.of_run(spec(augmentation="light").to_dict(), started)
    assert words.startswith("64 x 64 images stretched to 32 x 32 (bicubic), ") and "(shift)" in words
