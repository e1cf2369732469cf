"""Which module of a model is under way."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial

from torch import nn


class Position:
    """Keeps the path of the module under way by forward hooks, the first in and the last out of each module.

    A block has timm's own path, also inside a TunedModel; the root of a tree is called 'model'. The hooks ignore
    other threads, which may run the same modules.
    """

    def __init__(self, model: nn.Module):
        self.kinds: dict[str, str] = {}  # path -> class of the module
        self._trees = trees(model)
        self._under_way: list[str] = []

    @property
    def now(self) -> str:
        """Path of the innermost module under way; '' outside all."""
        return self._under_way[-1] if self._under_way else ""

    def follow(self, until: ExitStack) -> None:
        """Registers the hooks; `until` removes them."""
        until.callback(self._under_way.clear)
        self._thread, seen = threading.get_ident(), set[nn.Module]()
        for path, module in (named for tree in self._trees for named in tree.named_modules(seen)):
            path = path or "model"
            self.kinds.setdefault(path, type(module).__name__)
            until.enter_context(module.register_forward_pre_hook(partial(self._enter, path), prepend=True))
            until.enter_context(module.register_forward_hook(partial(self._leave, path), always_call=True))

    def _enter(self, path: str, *_: object) -> None:
        if threading.get_ident() == self._thread:
            self._under_way.append(path)

    def _leave(self, path: str, *_: object) -> None:
        if threading.get_ident() == self._thread and path in self._under_way:
            while self._under_way.pop() != path:
                pass


def trees(model: nn.Module) -> list[nn.Module]:
    """Modules whose paths begin at their own root: the module of a Backbone that the model holds, what the method
    trains, then the model itself."""
    held = [getattr(value, "module", None) for value in vars(model).values() if not isinstance(value, nn.Module)]
    return [tree for tree in (*held, getattr(model, "tuner", None), model) if isinstance(tree, nn.Module)]
