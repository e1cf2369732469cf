"""The life of a storage, and what autograd holds while it keeps one for backward."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from peftcore.memory.ledger import Ledger


@dataclass(slots=True, eq=False)
class Life:
    """One storage: its bytes, the ticks between which it lived, and what it was for.

    `role` is a component by name where that is fixed; else the storage is an activation until `kept_until`,
    the last tick at which autograd held it, and workspace otherwise.
    """

    nbytes: int
    born: int
    died: int | None = None
    role: str | None = None
    made: tuple[str, str, int] = ("", "", 0)  # the module under way, the operator, and which of its results
    keepers: int = 0
    kept_until: int = -1
    module: str = ""
    kind: str = ""
    dtype: str = ""
    pieces: dict[int, tuple[int, ...]] = field(default_factory=dict)  # what was saved of it: offset -> shape
    reasons: tuple[str, ...] = ()
    reference: weakref.ref | None = None

    def component(self) -> str:
        """What the storage is for now."""
        return self.role or ("activations" if self.keepers else "workspace")

    def keep(self, tensor: Tensor, module: str, kind: str) -> None:
        """Autograd saves `tensor`, which lies in this storage, while `module` runs."""
        self.keepers += 1
        if not self.pieces:
            self.module, self.kind, self.dtype = module, kind, str(tensor.dtype).removeprefix("torch.")
        self.pieces.setdefault(tensor.storage_offset(), tuple(tensor.shape))

    def release(self, tick: int) -> None:
        """Autograd lets go of one tensor in this storage."""
        self.keepers -= 1
        self.kept_until = tick

    def row(self) -> dict[str, Any]:
        """What was kept and why, as a report lists it. Equal parts of one storage have one shape: q, k, v (3,
        B, h, N, d).
        """
        shapes = list(self.pieces.values())
        needed = sum(math.prod(shape) for shape in shapes) * getattr(torch, self.dtype).itemsize
        equal = len(shapes) > 1 and len(set(shapes)) == 1
        view = () if needed >= self.nbytes else ("only a part is needed, but it is a view and all of it stays",)
        return {
            "module": self.module,
            "kind": self.kind,
            "made": list(self.made),
            "shape": [len(shapes), *shapes[0]] if equal else list(shapes[0]),
            "dtype": self.dtype,
            "bytes": self.nbytes,
            "reason": "; ".join((*self.reasons, *view)),
        }


class Kept:
    """What autograd holds in place of a saved tensor: the tensor, its version, and the storage's life."""

    __slots__ = ("tensor", "version", "life", "module", "ledger")

    def __init__(self, tensor: Tensor, life: Life | None, module: str, ledger: Ledger):
        self.tensor, self.version, self.life, self.module = tensor, tensor._version, life, module
        self.ledger = weakref.ref(ledger)

    def __del__(self):
        life, ledger = self.life, self.ledger()
        if life is not None and ledger is not None:
            life.release(ledger.tick)
