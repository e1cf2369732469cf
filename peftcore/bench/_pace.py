"""How long an epoch of a method takes beside one of LoRA: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Of one method on one backbone.

    ratio: CPU time of a training step as a multiple of LoRA's beside it, the median of the pairs. features: of
    computing the frozen features of all training images, in epochs of LoRA. lora: CPU seconds of an epoch of LoRA, the
    quickest step counted for all.
    """

    ratio: float
    features: float
    lora: float

    def epochs_within(self, lora_epochs: float) -> int:
        """Whole epochs in the time that LoRA takes for so many; at least one."""
        return max(1, int((lora_epochs - self.features) / self.ratio + 1e-9))

    def seconds(self, epochs: float) -> float:
        return self.lora * (self.features + epochs * self.ratio)

    def to_dict(self) -> dict[str, float]:
        return {name: round(value, 5) for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> Pace:
        return cls(**values)
