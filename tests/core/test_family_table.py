"""The method x family table in the docs matches what runs find, and attach refuses whatever would train nothing."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from backbones import small, state_bytes
from torch import nn

import peftcore as pc
from peftcore import errors
from peftcore.methods import Method, graft
from peftcore.registry import METHODS
from scripts import family_table
from scripts.family_table import CLASSES, FAMILIES, PAGE, kept, page, try_pair

NEW, OLD = "run python scripts/family_table.py", "run python scripts/family_table.py {}"


def test_every_method_is_in_the_table():
    missing = [name for name in METHODS.names() if set(kept().get(name, {})) != {f.title for f in FAMILIES}]
    assert not missing, f"{NEW}: docs/methods_by_family.json lacks {', '.join(missing)}"
    assert list(kept()) == list(METHODS.names()), f"{NEW}: it has methods that are gone"


def test_the_page_shows_the_table():
    assert PAGE.read_text() == page(kept()), f"{NEW}: docs/methods_by_family.md does not show what is in the .json"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.title)
def test_the_table_matches_the_runs(family):
    backbone = family.backbone()
    for name in kept().keys() & set(METHODS.names()):
        refusal, cell = try_pair(pc.make_method(name), backbone), kept()[name][family.title]
        assert (refusal == cell) if refusal else isinstance(cell, int), (
            f"{OLD.format(name)}: {refusal or 'it trains'}, not {cell}"
        )


def test_the_table_counts_right():
    anatomy = FAMILIES[0].anatomy()
    for name in kept().keys() & set(METHODS.names()):
        count = pc.attach(anatomy, pc.make_method(name), CLASSES).parameter_counts()["method"]
        assert kept()[name][FAMILIES[0].title] == count, OLD.format(name)


def test_only_what_is_missing_is_run(monkeypatch):
    """A new method costs only its own pairs, a named one runs again, and a method that is gone drops out."""
    ran = []
    monkeypatch.setattr(family_table, "FAMILIES", [Still("one"), Still("two")])
    monkeypatch.setattr(family_table, "cell", lambda method, *_: ran.append(method.name) or 7)
    known = {name: {"one": 1, "two": 2} for name in METHODS.names()} | {"gone": {"one": 1, "two": 2}}
    assert family_table.filled(known) == {name: known[name] for name in METHODS.names()} and not ran
    del known["lora"], known["last"]["two"]
    cells = family_table.filled(known, again=["ssf"])
    assert sorted(ran) == ["last", "lora", "lora", "ssf", "ssf"]
    assert cells["lora"] == cells["ssf"] == {"one": 7, "two": 7} and cells["last"] == {"one": 1, "two": 7}


class Still(NamedTuple):
    """Stands in for a family where nothing is run."""

    title: str

    def backbone(self) -> None: ...

    anatomy = backbone


class Deaf(Method):
    """A method whose trainable part is zero at the start and hooked in by `join`.

    Equation: y = x
    Trains: What is never heard.
    Keeps: Nothing.
    """

    name, title, kind = "deaf", "Deaf", "in-backbone"
    how: str

    def install(self, backbone):
        tuner, block = nn.Module(), backbone.module.blocks[0]
        linear = graft(tuner, "blocks.0.extra", nn.Linear(32, 32))
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        if self.how == "unused":
            nn.Linear(1, 1).register_forward_hook(lambda *_: linear)
        elif self.how == "ignored":
            block.register_forward_hook(lambda _, args, out: out + 0 * linear(out))
        elif self.how == "half":
            block.register_forward_hook(lambda _, args, out: out @ linear.weight.T + out)
        elif self.how == "breaks":
            block.register_forward_hook(lambda _, args, out: linear(out[..., 1:]))
        else:
            block.register_forward_hook(lambda _, args, out: out + linear(out))
        return tuner


def test_attach_refuses_what_trains_nothing():
    backbone = small("vit")
    before = state_bytes(backbone.module)
    model = pc.attach(backbone, Deaf(how="well"), 3)
    assert not any(t.any() for t in model.tuner.state_dict().values())  # the proof's nudge is taken back
    for how, why in {
        "unused": "extra.bias|extra.weight and 1 more",
        "half": "train nothing at blocks.0.extra.bias",
        "ignored": "no change of its weights",
        "breaks": "does not run",
    }.items():
        with pytest.raises(errors.DoesNotFit, match=why):
            pc.attach(backbone, Deaf(how=how), 3)
        assert state_bytes(backbone.module) == before


def test_the_proof_leaves_the_model_as_it_was():
    """The same tensors with and without it, shared ones still shared, the random state untouched."""
    backbone = pc.load_backbone("swinv2_tiny_window8_256", pretrained=False, **dict(FAMILIES[-1].small))
    assert not backbone.module.layers[0].blocks[0].norm1.weight.any()  # timm's own start: blocks that add nothing yet
    method = pc.make_method("adapter")
    torch.manual_seed(0)
    proven = pc.attach(backbone, method, 3)
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(0)))
    plain = pc.attach(backbone, method, 3, verify=False)
    assert state_bytes(proven) == state_bytes(plain)
    assert {p.data_ptr() for p in backbone.module.parameters()} <= {p.data_ptr() for p in proven.trunk.parameters()}
