"""RunSpec, registry and errors: frozen, validated, unchanged by JSON, and helpful when wrong."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import peftcore as pc
from peftcore import errors
from peftcore.methods import Method, SideNetwork


@settings(max_examples=30, deadline=None)
@given(
    method=st.sampled_from(
        [{"name": "last", "rank": 4, "gap": 3}, {"name": "lora", "projections": ["q", "fc1"]}, "linear", "full"]
    ),
    epochs=st.integers(1, 1000),
    lr=st.floats(1e-6, 10, exclude_min=True),
    seed=st.integers(0, 2**31 - 1),
    decay=st.none() | st.floats(0, 1),
    cache=st.sampled_from(["auto", "disk", True, False]),
)
def test_a_spec_is_the_same_after_json(method, epochs, lr, seed, decay, cache):
    spec = pc.RunSpec(method=method, epochs=epochs, lr=lr, seed=seed, weight_decay=decay, cache_features=cache)
    again = pc.RunSpec.from_json(spec.to_json())
    assert again == spec and again.key == spec.key and hash(again) == hash(spec)
    assert type(again.cache_features) is type(spec.cache_features)
    assert pc.RunSpec.model_validate_json(spec.model_dump_json()) == spec


def test_the_key_covers_every_field():
    spec = pc.RunSpec()
    changes = dict(backbone="vit_tiny_patch16_224", method="lora", task="counting", epochs=11, batch_size=3, lr=2e-3,
                   weight_decay=0.1, warmup=0.2, clip=1.0, precision="bf16", normalisation="none", resize="crop",
                   augmentation="light", select="val", cache_features=False, cache_precision="bf16", pretrained=False,
                   weights="x", image_size=96, device="cpu", seed=1)  # fmt: skip
    keys = {spec.replace(**{name: value}).key for name, value in changes.items()}
    changes["compile"] = True  # of in-backbone methods alone
    keys.add(spec.replace(method="lora", compile=True).key)
    assert set(changes) == set(pc.RunSpec.model_fields)
    assert len(keys | {spec.key}) == len(changes) + 1


def test_a_spec_is_frozen():
    with pytest.raises(Exception, match="frozen"):
        pc.RunSpec().epochs = 3
    with pytest.raises(Exception, match="frozen"):
        pc.RunSpec().method.rank = 3


@pytest.mark.parametrize(
    "given, kind, words",
    [
        (dict(bakbone="x"), errors.UnknownName, "Did you mean 'backbone'"),
        (dict(method="lorra"), errors.UnknownName, "Did you mean 'lora'"),
        (dict(method={"name": "lora", "rnk": 2}), errors.UnknownName, "Did you mean 'rank'"),
        (dict(task="digit"), errors.UnknownName, "Did you mean 'digits'"),
        (dict(method={"rank": 2}), errors.InvalidSetting, "'name'"),
        (dict(method=3), errors.InvalidSetting, "'name'"),
        (dict(epochs=0), errors.InvalidSetting, "at least 1 and at most 1000"),
        (dict(lr=float("nan")), errors.InvalidSetting, "a finite number"),
        (dict(cache_features="x"), errors.InvalidSetting, "cache_features = 'x' .*'auto' or 'disk' or a valid boolean"),
        (dict(precision="fp8"), errors.InvalidSetting, "'fp32' or 'bf16'"),
        (dict(clip=0), errors.InvalidSetting, "clip = 0 .* above 0 and at most 10000"),
        (dict(seed=-1), errors.InvalidSetting, "at least 0 and below 2147483648"),
    ],
)
def test_bad_specs_get_a_sentence(given, kind, words):
    with pytest.raises(kind, match=words):
        pc.RunSpec(**given)


@pytest.mark.parametrize("text", ["", "[1]", '{"epochs": 1', '{"epoch": 1}'])
def test_bad_json_gets_a_sentence(text):
    with pytest.raises(errors.HeadroomError):
        pc.RunSpec.from_json(text)


@pytest.mark.parametrize("name", pc.methods())
def test_every_method_explains_itself(name):
    method = pc.make_method(name)
    assert method.name == name and method.kind in ("in-backbone", "side")
    card = method.card
    assert card.title and card.trains and card.keeps and card.equation
    for field, info in type(method).model_fields.items():
        assert info.description, f"{name}.{field} has no help"
    assert pc.make_method(**method.settings()) == method


class Mute(Method):
    """Trains: Something.
    Keeps: As much as
        full fine-tuning.
    """

    name, title, kind = "mute", "Mute", "in-backbone"


def test_a_card_is_the_docstring_of_its_class():
    with pytest.raises(errors.InvalidSetting, match="Mute must have .* Equation.*missing.*'equation'"):
        _ = Mute.card
    described = type("Told", (Mute,), {"__doc__": "Equation: y = x\n" + inspect.cleandoc(Mute.__doc__)}).card
    assert (described.equation, described.keeps, described.paper) == ("y = x", "As much as full fine-tuning.", "")
    assert not described.mergeable and pc.make_method("linear").card.mergeable


class Halved(Mute):
    """A newcomer's first draft: a field without a value, and nothing returned."""

    rank: int

    def install(self, backbone):
        pass


def test_a_draft_of_a_method_is_told_what_it_lacks():
    with pytest.raises(errors.InvalidSetting, match="rank = {} is not possible; it must be given"):
        Halved()
    with pytest.raises(errors.DoesNotFit, match="Mute: `install` must return the module of what trains; got None"):
        pc.attach(pc.load_backbone("vit_micro"), Halved(rank=1), num_classes=3)


@pytest.mark.parametrize(
    "tap, why",
    [("blocks.99:out", "no attribute `99`"), ("blox:in", "no attribute `blox`"),
     ("blocks.0:middle", r"KeyError\('blocks.0:middle'\)"), ("nothing", r"KeyError\('nothing'\)")],
)  # fmt: skip
def test_a_side_network_that_reads_where_nothing_is_does_not_fit(tap, why):
    class Reads(SideNetwork):
        taps = (tap,)

    drafted = type("Drafted", (Mute,), {"install": lambda self, backbone: Reads(), "kind": "side"})
    with pytest.raises(errors.DoesNotFit, match=f"Mute on vit_micro does not run: .*{why}"):
        pc.attach(pc.load_backbone("vit_micro"), drafted(), num_classes=3)


def test_events_survive_json():
    import json

    from peftcore import events

    step = events.Step(step=1, epoch=1, loss=0.5, lr=1e-3, grad_norm=1.0, images_per_second=3.0, seconds=0.1)
    assert events.from_dict(json.loads(json.dumps(step.to_dict()))) == step
    checkpoint = events.Checkpoint(epoch=1, step=2, blob=b"x")
    assert "blob" not in checkpoint.to_dict() and events.from_dict(checkpoint.to_dict()).blob is None


def test_fields_that_came_later_leave_older_keys_alone():
    """Checkpoints and logs of specs made before a field existed still belong to them."""
    assert pc.RunSpec(method="last").key == "0ea1572620fc"
    assert pc.RunSpec(method={"name": "last", "qk_norm": False}).key == "0ea1572620fc"
    assert pc.RunSpec(method={"name": "last", "qk_norm": True}).key != "0ea1572620fc"


@pytest.mark.parametrize(
    "text, error",
    [
        ('{"self": 1}', errors.UnknownName),
        ('{"method": {"name": "lora", "self": 1}}', errors.UnknownName),
        ('{"seed": ' + "9" * 5000 + "}", errors.InvalidSetting),
    ],
)
def test_json_that_python_itself_stumbles_over_is_a_sentence(text, error):
    with pytest.raises(error):
        pc.RunSpec.from_json(text)
