"""MemoryReport: the bytes of one training step, predicted or measured."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from peftcore import errors
from peftcore.events import COMPONENTS


@dataclass(frozen=True)
class MemoryReport:
    """Bytes of one training step. All sizes are bytes.

    peak: the highest sum of live bytes, those of the cached features among them where these lie in the memory of the
    device that trains; components: that moment by component; at: its phase and module.
    curve: moments of the step, {"t": 0 to 1, "phase", "where", and each component}.
    activations: each storage that autograd kept, {"module", "kind", "made", "shape", "dtype", "bytes", "reason"}; made:
    the module and the operator that made it, and which of the operator's results it is.
    cache: of a prediction, where the frozen features of all images will be kept (`CachePlan.to_dict`).
    allocator: on CUDA, the allocator's own counters and the differences to the ledger, each by name; else None.
    """

    peak: int
    components: dict[str, int]
    curve: list[dict[str, Any]] = field(default_factory=list)
    activations: list[dict[str, Any]] = field(default_factory=list)
    at: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"
    precision: str = "fp32"
    batch_size: int = 0
    predicted: bool = False
    seconds: float = 0.0
    cache: dict[str, Any] = field(default_factory=dict)
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MemoryReport:
        """The report that `to_dict` wrote, also an older Headroom's, which counted cached features as features.

        Raises:
            UnknownName: a key that no report has.
        """
        names = [f.name for f in fields(cls)]
        for name in values:
            if name not in names:
                raise errors.unknown("part of a memory report called", name, names)
        return cls(**{**values, "components": dict.fromkeys(COMPONENTS, 0) | values["components"]})


def block_of(path: str) -> str:
    """The numbered block a module lies in: 'blocks.3.mlp.fc1' -> 'blocks.3'; '' outside all."""
    found = re.match(r"(.*?(?:^|\.)(?:blocks|layers\.\d+\.blocks|layers|side)(?:\.\d+)+)(?:\.|$)", path)
    return found.group(1) if found else ""
