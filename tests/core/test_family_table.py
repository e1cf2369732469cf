"""The method x family table in the docs is what runs find, and attach lets nothing through that trains nothing."""

from __future__ import annotations

import re

import pytest
import torch
from backbones import small, state_bytes
from torch import nn

import peftcore as pc
from peftcore import errors
from peftcore.methods import Card, Method, graft
from peftcore.registry import METHODS
from scripts.family_table import CLASSES, FAMILIES, PAGE, try_pair


def cells() -> dict[tuple[str, str], str]:
    """(method, family) -> the cell's text: a number, or the refusal that it points to."""
    text = PAGE.read_text()
    sentences = dict(re.findall(r"^(\d+)\. \*\*[^*]+\*\* (.+)$", text, flags=re.MULTILINE))
    header, _, *rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    found = {}
    for method, *row in rows:
        for family, cell in zip(header[1:], row, strict=True):
            number = re.fullmatch(r"no \((\d+)\)", cell)
            found[method.strip("`"), family] = sentences[number[1]] if number else cell
    return found


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.title)
def test_the_page_is_what_is_found(family):
    backbone, documented = family.backbone(), cells()
    for name in METHODS.names():
        refusal = try_pair(pc.make_method(name), backbone)
        cell = documented[name, family.title]
        assert (refusal == cell) if refusal else re.fullmatch(r"[\d,]+", cell), (
            f"{name}: {refusal or 'works'}, not {cell}"
        )


def test_the_page_counts_right():
    anatomy, documented = FAMILIES[0].anatomy(), cells()
    for name in METHODS.names():
        counts = pc.attach(anatomy, pc.make_method(name), CLASSES).parameter_counts()
        assert documented[name, FAMILIES[0].title] == f"{counts['method']:,}"


class Deaf(Method):
    """A method whose trainable part is zero at the start and hooked in by `join`."""

    name, kind = "deaf", "in-backbone"
    card = Card("Deaf", "", "", "", "", mergeable=False)
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
    """Same tensors with and without it, the shared ones still shared, the random state untouched."""
    backbone = pc.load_backbone("swinv2_tiny_window8_256", pretrained=False, **dict(FAMILIES[-1].small))
    assert not backbone.module.layers[0].blocks[0].norm1.weight.any()  # timm's own start: blocks that add nothing yet
    method = pc.make_method("adapter")
    torch.manual_seed(0)
    proven = pc.attach(backbone, method, 3)
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(0)))
    plain = pc.attach(backbone, method, 3, verify=False)
    assert state_bytes(proven) == state_bytes(plain)
    assert {id(p) for p in backbone.module.parameters()} <= {id(p) for p in proven.trunk.parameters()}
