"""Methods that train some of the backbone's own weights, in copies that the shared backbone never sees."""

from __future__ import annotations

from typing import Any

from torch import nn

from peftcore.backbone.load import Backbone
from peftcore.methods import Method, graft


class Thawing(Method):
    """Trains the weights of the backbone that `trains` chooses, under timm's own names."""

    @staticmethod
    def trains(name: str) -> bool:
        raise NotImplementedError

    def install(self, backbone: Backbone) -> nn.Module:
        tuner = nn.Module()
        for name, parameter in list(backbone.module.named_parameters()):
            if self.trains(name):
                owner, _, leaf = name.rpartition(".")
                copy = graft(tuner, name, nn.Parameter(parameter.detach().clone()))
                setattr(backbone.module.get_submodule(owner), leaf, copy)
        return tuner

    def merge(self, model: Any, module: nn.Module) -> None:
        module.load_state_dict(model.backbone.module.state_dict(), strict=False)  # all but the classifier
