"""Which module of a model is under way."""

from __future__ import annotations

import threading
from typing import Any

from torch import nn


class Whereabouts:
    """Keeps the path of the module under way by forward hooks, the first in and the last out of each module.

    A block has timm's own path, also inside a TunedModel; the root of a tree is called 'model'.
    """

    def __init__(self, model: nn.Module):
        self.kinds: dict[str, str] = {}  # path -> class of the module
        self._trees = trees(model)
        self._stack: list[str] = []
        self._handles: list[Any] = []
        self._thread = threading.get_ident()

    @property
    def now(self) -> str:
        """Path of the innermost module under way; '' outside all."""
        return self._stack[-1] if self._stack else ""

    def follow(self) -> None:
        """Put the hooks on. They are deaf to other threads, which may run the same modules."""
        self._thread = threading.get_ident()
        seen = set()
        for path, module in (named for tree in self._trees for named in tree.named_modules()):
            if id(module) in seen:
                continue
            seen.add(id(module))
            path = path or "model"
            self.kinds.setdefault(path, type(module).__name__)
            enter, leave = self._hooks(path)
            self._handles.append(module.register_forward_pre_hook(enter, prepend=True))
            self._handles.append(module.register_forward_hook(leave, always_call=True))

    def stop(self) -> None:
        """Take the hooks off again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._stack.clear()

    def _hooks(self, path: str):
        def enter(*_) -> None:
            if threading.get_ident() == self._thread:
                self._stack.append(path)

        def leave(*_) -> None:
            if threading.get_ident() == self._thread and path in self._stack:
                while self._stack.pop() != path:
                    pass

        return enter, leave


def trees(model: nn.Module) -> list[nn.Module]:
    """Modules whose paths are told from their own root: the module of a Backbone that the model holds, what
    the method trains, then the model itself."""
    held = [getattr(value, "module", None) for value in vars(model).values() if not isinstance(value, nn.Module)]
    found = [*held, getattr(model, "tuner", None), model]
    return [tree for tree in found if isinstance(tree, nn.Module)]
