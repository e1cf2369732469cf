"""Settings that cannot be: each a sentence of ours with what is allowed, in the library as in the form (test_launch.py)."""

from __future__ import annotations

import pytest

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
    ("vit_micro", "lora", {"rank": 129}, "rank 129 is above the width of vit_micro (128); choose 1 to 128"),
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


@pytest.mark.parametrize("method, settings, kind, told", WHEN_MADE, ids=lambda value: str(value)[:30])
def test_refused_when_the_method_is_made(method, settings, kind, told):
    with pytest.raises(kind) as caught:
        pc.make_method(method, **settings)
    assert told in str(caught.value)
    with pytest.raises(kind):
        pc.RunSpec(method={"name": method, **settings})


@pytest.mark.parametrize("backbone, method, settings, told", ON_A_BACKBONE, ids=lambda value: str(value)[:30])
def test_refused_when_it_is_attached(backbone, method, settings, told):
    with pytest.raises(errors.DoesNotFit) as caught:
        pc.attach(pc.load_backbone(backbone, device="meta"), pc.make_method(method, **settings), 10)
    assert told in str(caught.value)


@pytest.mark.parametrize("frozen, name", [(pc.RunSpec(), "epochs"), (pc.make_method("last"), "rank")])
def test_a_frozen_setting_says_how_to_change_it(frozen, name):
    before = hash(frozen)
    with pytest.raises(errors.InvalidSetting, match=rf"frozen.*\.replace\({name}=3\)"):
        setattr(frozen, name, 3)
    assert hash(frozen) == before and getattr(frozen.replace(**{name: 3}), name) == 3


def test_options_of_a_tuner_are_frozen_with_their_method():
    """A spec that holds them has a hash, survives JSON and pickle, and no caller's dict can change it."""
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
