"""What each module of a side network adds to the token that the classifier reads."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from peftcore import errors
from peftcore.model import TunedModel
from peftcore.probes.attention import evaluating
from peftcore.registry import METHODS

EARLIER = "earlier stages"


@dataclass(frozen=True)
class Added:
    """The pooled token before the last norm, as a sum: `frozen` (B, d) of the backbone + the sum of `terms`
    (modules, B, d). On a backbone with stages the first term is what earlier stages added, through the frozen patch
    merging; their modules have no terms of their own, because a norm lies between.

    `names`: 'module 1', counted as the attention modules are, and EARLIER.
    """

    names: tuple[str, ...]
    frozen: Tensor
    terms: Tensor

    def sizes(self) -> Tensor:
        """Each term's length as a multiple of the frozen token's: (modules, B)."""
        return self.terms.norm(dim=-1) / self.frozen.norm(dim=-1)

    def shares(self) -> Tensor:
        """The share of each term in all that was added, along its direction: (modules, B), sums to 1 over modules; 0
        where nothing was added. Negative: it takes away from what the others add."""
        whole = self.terms.sum(0)  # (B, d)
        return (self.terms * whole).sum(-1) / whole.square().sum(-1).clamp(min=1e-30)


@torch.no_grad()
def added(model: TunedModel, images: Tensor) -> Added:
    """What a side network of attention modules adds to the class token, or to the mean token where that is pooled.

    Raises:
        NotMeasurable: the method has no such network.
        BadData: images that do not fit the backbone.
    """
    if not model.is_side or not model.tuner.attended:
        able = " or ".join(METHODS.facts(name).title for name in METHODS.names(shows="attention"))
        raise errors.NotMeasurable(
            f"{model.method.title} has no side network with attention; train {able} to see what its modules add."
        )
    tuner, backbone = model.tuner, model.backbone
    modules = [lsa for group in tuner.side for lsa in group]
    given: list[Tensor] = []  # to each module
    put_out: list[Tensor] = []

    def note(_: object, args: tuple[Tensor, ...], out: Tensor) -> None:
        given.append(args[0])
        put_out.append(out)

    with evaluating(model), ExitStack() as handles:
        features = model.features(images)
        for module in modules:
            handles.enter_context(module.register_forward_hook(note))
        tuner.attention(features)  # runs the modules one by one
    groups = len(tuner.groups[-1])  # of the last stage
    z = [one.flatten(1, -2) for one in features[-groups - 1 :]]  # its z_0 .. z_m, (B, N, d)
    first = len(modules) - groups * len(tuner.side[-1])
    terms, names = put_out[first:], [f"module {number + 1}" for number in range(first, len(modules))]
    if first:
        terms, names = [given[first] - z[0] - z[1], *terms], [EARLIER, *names]
    frozen = z[-1] if tuner.correct else sum(z[1:], z[0])
    token = getattr(backbone.module, "global_pool", "") == "token"
    prefix = 0 if backbone.hierarchical else backbone.prefix_tokens

    def pooled(tokens: Tensor) -> Tensor:
        return tokens[:, 0] if token else tokens[:, prefix:].mean(1)

    return Added(tuple(names), pooled(frozen), torch.stack([pooled(one) for one in terms]))
