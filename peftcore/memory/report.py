"""MemoryReport: the bytes of one training step, predicted or measured."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from peftcore import errors
from peftcore.events import COMPONENTS

__all__ = ["COMPONENTS", "MemoryReport", "block_of"]


@dataclass(frozen=True)
class MemoryReport:
    """Bytes of one training step. All sizes are bytes.

    peak: the highest sum of live bytes; components: that moment by component; at: its phase and module.
    curve: moments of the step, {"t": 0 to 1, "phase", "where", and each component}.
    activations: each storage that autograd kept, {"module", "kind", "made", "shape", "dtype", "bytes",
    "reason"}; made: the module, the operator and the number of its result that it is.
    allocator: on CUDA, the allocator's own counters and the differences to the ledger, each by name; else
    None.
    """

    peak: int
    components: dict[str, int]
    curve: tuple[dict[str, Any], ...] = ()
    activations: tuple[dict[str, Any], ...] = ()
    at: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"
    precision: str = "fp32"
    batch_size: int = 0
    predicted: bool = False
    seconds: float = 0.0
    allocator: dict[str, int] | None = None

    @property
    def weights(self) -> int:
        """Frozen and trainable weights."""
        return self.components["frozen_weights"] + self.components["trainable_weights"]

    @property
    def above_weights(self) -> int:
        """What the step needs on top of the weights."""
        return self.peak - self.weights

    @property
    def kept(self) -> int:
        """All that autograd kept for backward, at the end of forward."""
        return sum(row["bytes"] for row in self.activations)

    def activations_by(self, key: str) -> dict[str, int]:
        """Kept bytes summed by 'block' (a module's path where it lies in none), 'module' or 'kind', in
        forward order.
        """
        total: dict[str, int] = defaultdict(int)
        for row in self.activations:
            total[block_of(row["module"]) or row["module"] if key == "block" else row[key]] += row["bytes"]
        return dict(total)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is its inverse."""
        return {
            **asdict(self),
            "curve": list(map(dict, self.curve)),
            "activations": list(map(dict, self.activations)),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MemoryReport:
        """The report that `to_dict` wrote.

        Raises:
            UnknownName: a key that no report has.
        """
        names = [f.name for f in fields(cls)]
        for name in values:
            if name not in names:
                raise errors.unknown("part of a memory report called", name, names)
        return cls(
            **{
                **values,
                "curve": tuple(values.get("curve", ())),
                "activations": tuple(values.get("activations", ())),
            }
        )


def block_of(path: str) -> str:
    """The numbered block a module lies in: 'blocks.3.mlp.fc1' -> 'blocks.3'; '' outside all."""
    found = re.match(r"(.*?(?:^|\.)(?:blocks|layers\.\d+\.blocks|layers|side)(?:\.\d+)+)(?:\.|$)", path)
    return found.group(1) if found else ""
