"""What a side network adds: its modules' terms and the frozen token make the token that the classifier reads."""

from __future__ import annotations

import pytest
import torch
from backbones import BOTH, images, nudge, small

import peftcore as pc
from peftcore import errors
from peftcore.bench._added import EARLIER, added


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("correction", [True, False])
def test_what_the_modules_add_and_the_frozen_token_are_the_whole(family, correction):
    """Swin pools the mean of normed tokens, so there the whole is compared before its norm."""
    method = {"name": "last", "rank": 4, "stack": 2, "bias_correction": correction}
    model = nudge(pc.attach(small(family), method, 3), 0.2).eval()
    x = images(small(family))
    found = added(model, x)
    seen, finish = [], model.tuner.finish
    model.tuner.finish = lambda tokens: seen.append(tokens) or finish(tokens)
    with torch.no_grad():
        model(x)
    [tokens] = seen  # (B, ..., d) that go into the last norm
    pooled = tokens[:, 0] if family == "vit" else tokens.flatten(1, -2).mean(1)
    torch.testing.assert_close(found.frozen + found.terms.sum(0), pooled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.shares().sum(0), torch.ones(2))
    assert len(found.names) == len(found.terms) and (found.names[0] == EARLIER) == (family == "swin")
    assert (found.sizes() > 0).all()


def test_a_side_network_that_learned_nothing_adds_nothing():
    model = pc.attach(small("vit"), "last", 3).eval()
    found = added(model, images(small("vit")))
    assert not found.terms.any() and not found.shares().any()
    with pytest.raises(errors.NotMeasurable, match="LAST"):
        added(pc.attach(small("vit"), "lora", 3), images(small("vit")))
