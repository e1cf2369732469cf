"""Invalid settings: each gets an error that says what is allowed, in the library as in the form (test_launch.py)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from backbones import small

import peftcore as pc
from peftcore import errors

SWIN = "swin_tiny_patch4_window7_224"
WHEN_MADE = [  # impossible whatever the backbone
    ("bi_lora", {"bits": 3}, errors.InvalidSetting, "bits = 3 is not possible; it must be 1, 2, 4, 8 or 32"),
    ("heart_lora", {"bits": 3}, errors.InvalidSetting, "bits = 3 is not possible; it must be 1, 2, 4, 8 or 32"),
    ("hf_peft", {"tuner": "lorra"}, errors.UnknownName, "Did you mean 'lora'? There are: adalora"),
    ("hf_peft", {"options": {"f": print}}, errors.InvalidSetting, "made of numbers, texts, lists"),
    ("last", {"rank": 10, "heads": 3}, errors.InvalidSetting, "choose 1, 2, 5, 10 heads, or a rank that is a multiple"),
    ("lora", {"rank": 0}, errors.InvalidSetting, "it must be at least 1 and at most 1024"),
    ("lora", {"rank": 1025}, errors.InvalidSetting, "it must be at least 1 and at most 1024"),
    ("lora", {"rank": True}, errors.InvalidSetting, "rank = True is not possible; it must be a number"),
    ("lora", {"alpha": True}, errors.InvalidSetting, "it must be a number, not true or false"),
    ("lora", {"alpha": 0}, errors.InvalidSetting, "it must be above 0"),
    ("lora", {"dropout": 1}, errors.InvalidSetting, "it must be at least 0 and below 1"),
    ("lora", {"projections": []}, errors.InvalidSetting, "it must be at least one"),
    ("lora", {"projections": ["z"]}, errors.InvalidSetting, "it must be 'q', 'k', 'v', 'proj', 'fc1' or 'fc2'."),
    ("lora", {"projections": 3}, errors.InvalidSetting, "it must be a list"),
    ("heart_lora", {"off": [[True]]}, errors.InvalidSetting, "not true or false"),
    ("heart_lora", {"n_off": True}, errors.InvalidSetting, "it must be a number"),
]
ON_A_BACKBONE = [
    ("vit_micro", "last", {"rank": 129}, "rank 129 is above the width of vit_micro; choose 1 to 128"),
    ("vit_micro", "lora", {"rank": 129}, "rank 129 is above the width of vit_micro; choose 1 to 128"),
    ("vit_micro", "bi_lora", {"rank": 129}, "choose 1 to 128"),
    ("vit_micro", "heart_lora", {"rank": 129}, "choose 1 to 128"),
    ("vit_micro", "serial_lora", {"rank": 129}, "choose 1 to 128"),
    (SWIN, "lora", {"rank": 97}, "choose 1 to 96"),
    ("vit_micro", "last", {"gap": 9}, "gap 9 is above the depth of vit_micro; choose 1 to 8"),
    ("vit_micro", "lst", {"gap": 9}, "choose 1 to 8"),
    ("vit_micro", "lst", {"reduction": 129}, "choose 1 to 128"),
    ("vit_micro", "heart_lora", {"n_off": 9}, "n_off 9 leaves no head in a block of vit_micro with 8; choose 0 to 7"),
    ("vit_micro", "heart_lora", {"off": [[8]]}, "name heads 0 to 7"),
    (SWIN, "heart_lora", {"n_off": 3}, "choose 0 to 2, or percent_off where head counts differ"),
    (SWIN, "vpt", {}, "have no place for prompt tokens; choose a plain ViT"),
]


@pytest.mark.parametrize("method, settings, kind, message", WHEN_MADE, ids=lambda value: str(value)[:30])
def test_refused_when_the_method_is_made(method, settings, kind, message):
    with pytest.raises(kind) as caught:
        pc.make_method(method, **settings)
    assert message in str(caught.value)
    with pytest.raises(kind):
        pc.RunSpec(method={"name": method, **settings})


@pytest.mark.parametrize("backbone, method, settings, message", ON_A_BACKBONE, ids=lambda value: str(value)[:30])
def test_refused_when_it_is_attached(backbone, method, settings, message):
    with pytest.raises(errors.DoesNotFit) as caught:
        pc.attach(pc.load_backbone(backbone, device="meta"), pc.make_method(method, **settings), 10)
    assert message in str(caught.value)


def no_labels() -> torch.Tensor:
    return torch.zeros(0, dtype=torch.long)


CALLS = [  # what is given in the wrong place, kind, words
    (partial(pc.attach, "vit_micro", "last", 10), errors.InvalidSetting, "takes a Backbone, as load_backbone"),
    (lambda: pc.attach(small("vit"), 3, 10), errors.InvalidSetting, "a method's name, or its settings"),
    (lambda: pc.attach(small("vit"), "lasst", 10), errors.UnknownName, "Did you mean 'last'"),
    (lambda: pc.attach(small("vit"), {"rank": 3}, 10), errors.InvalidSetting, "with a 'name' among them"),
    (lambda: pc.attach(small("vit"), "last", "10"), errors.InvalidSetting, "a whole number, at least 2"),
    (lambda: pc.attach(small("vit"), "last", 1), errors.InvalidSetting, "a whole number, at least 2"),
    (lambda: next(pc.finetune(3)), errors.InvalidSetting, "a RunSpec, or by a dict of its fields"),
    (lambda: next(pc.finetune({"epochz": 3})), errors.UnknownName, "Did you mean 'epochs'"),
    (lambda: pc.run("digits"), errors.InvalidSetting, "a RunSpec, or by a dict of its fields"),
    (lambda: pc.race([{"epochs": 0}]), errors.InvalidSetting, "at least 1 and at most 1000"),
    (lambda: pc.predict_memory(None), errors.InvalidSetting, "a RunSpec, or by a dict of its fields"),
]


@pytest.mark.parametrize("call, kind, message", CALLS, ids=[message for *_, message in CALLS])
def test_an_invalid_spec_backbone_or_method_is_an_error(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)


def test_names_and_dicts_are_taken_where_they_are_meant():
    named = pc.attach(small("vit"), "lora", 3).adapter_state()
    for method in ({"name": "lora"}, pc.make_method("lora")):
        state = pc.attach(small("vit"), method, np.int64(3)).adapter_state()
        assert all(torch.equal(t, state[name]) for name, t in named.items())
    run = pc.finetune({"method": {"name": "lora", "rank": 2}, "epochs": 1, "pretrained": False})
    assert next(run).spec == pc.RunSpec(method={"name": "lora", "rank": 2}, epochs=1, pretrained=False).to_dict()
    run.close()
    assert pc.predict_memory({"method": "lora"}).peak == pc.predict_memory(pc.RunSpec(method="lora")).peak


@pytest.mark.parametrize("method", ["lora", "last"])
@pytest.mark.parametrize(
    "images, message",
    [
        (torch.zeros(2, 3, 32, 32), "takes images (batch, 3, 32, 48); got 2x3x32x32. Resize them"),
        (torch.zeros(2, 1, 32, 48), "got 2x1x32x48"),
        (torch.zeros(3, 32, 48), "got 3x32x48"),
        (torch.zeros(0, 3, 32, 48), "got 0x3x32x48"),
        (torch.zeros(2, 3, 32, 48, dtype=torch.uint8), "a float tensor of normalised images"),
        (np.zeros((2, 3, 32, 48)), "got an object of type ndarray"),
    ],
)
def test_images_that_the_backbone_cannot_take(method, images, message):
    with pytest.raises(errors.BadData) as caught:
        pc.attach(small("vit"), method, 3)(images)
    assert message in str(caught.value)


def test_a_backbone_that_takes_any_size_still_does():
    backbone = pc.load_backbone("vit_tiny_patch16_224", pretrained=False, depth=2, dynamic_img_size=True)
    assert pc.attach(backbone, "last", 3)(torch.zeros(1, 3, 64, 96)).shape == (1, 3)


def test_head_scores_of_nothing_or_by_an_unknown_score():
    model = pc.attach(small("vit"), "lora", 3)
    with pytest.raises(errors.UnknownName, match="Did you mean 'energy'.*taylor_squared"):
        pc.head_scores(model, torch.zeros(1, 3, 32, 48), torch.zeros(1, dtype=torch.long), "enery")
    for images, labels in (([], []), (torch.zeros(0, 3, 32, 48), no_labels())):
        with pytest.raises(errors.BadData, match="at least one batch"):
            pc.head_scores(model, images, labels)


@pytest.mark.parametrize("frozen, name", [(pc.RunSpec(), "epochs"), (pc.make_method("last"), "rank")])
def test_a_frozen_setting_says_how_to_change_it(frozen, name):
    before = hash(frozen)
    with pytest.raises(errors.InvalidSetting, match=rf"frozen.*\.replace\({name}=3\)"):
        setattr(frozen, name, 3)
    assert hash(frozen) == before and getattr(frozen.replace(**{name: 3}), name) == 3


def test_options_of_a_tuner_are_frozen_with_their_method():
    """A spec with them has a hash, survives JSON and pickle, and cannot be changed through a caller's dict."""
    import pickle

    given = {"r": 4, "target_modules": ["qkv"], "rank_pattern": {"qkv": 2}}
    spec = pc.RunSpec(method={"name": "hf_peft", "options": given})
    given["r"] = 9
    assert spec.method.options["r"] == 4
    for again in (pc.RunSpec.from_json(spec.to_json()), pickle.loads(pickle.dumps(spec))):
        assert again == spec and hash(again) == hash(spec) and again.key == spec.key
    for change in (lambda o: o.update(r=3), lambda o: o.__setitem__("r", 3), lambda o: o.clear()):
        with pytest.raises(errors.InvalidSetting, match="frozen"):
            change(spec.method.options)
    assert pc.attach(pc.load_backbone("vit_micro", pretrained=False), spec.method, 3).parameter_counts()["method"] > 0
