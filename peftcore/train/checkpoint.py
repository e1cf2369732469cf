"""The state of a run between two epochs, also as one blob: all it takes to go on to the weights it would have had."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor
from torch.optim import Optimizer

from peftcore import errors
from peftcore.adapters.packing import pack, unpack
from peftcore.methods import Coach
from peftcore.model import TunedModel

LIMIT = 64_000_000  # bytes: larger states are not kept, so such a run cannot resume


@dataclass(frozen=True)
class Best:
    """The weights of the epoch (from 1) with the best validation accuracy, in host memory."""

    epoch: int
    accuracy: float
    weights: dict[str, Tensor]


@dataclass
class State:
    """Everything that changes while a run trains."""

    model: TunedModel
    optimizer: Optimizer
    coach: Coach
    epochs: list[dict[str, float]] = field(default_factory=list)  # a row for each that is over
    seconds: float = 0.0  # spent before it was resumed
    peak: dict[str, int] = field(default_factory=dict)  # bytes by component at the highest peak traced
    best: Best | None = None  # where validation selects

    def pack(self, key: str, seconds: float) -> bytes | None:
        """The state as a blob; None where that is too large to be kept. `key`: of the run's spec and, after a space,
        of its images. `seconds`: spent so far."""
        weights = self.best.weights if self.best else {}
        parts = {"adapter": self.model.adapter_state(), "coach": self.coach.state(), "best": weights}
        tensors = {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
        for name, parameter in self.model.named_trainable():
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"optimizer.{moment}.{name}": value for moment, value in moments.items()}
        if sum(tensor.nbytes for tensor in tensors.values()) > LIMIT:
            return None
        about = {"spec": key, "epochs": self.epochs, "seconds": seconds, "peak": self.peak}
        about |= {"backbone": self.model.fingerprint, "best": self.best and [self.best.epoch, self.best.accuracy]}
        return pack(tensors, about)

    def restore(self, blob: bytes, key: str) -> None:
        """Takes over what `pack` wrote.

        Raises:
            AdapterMismatch: it belongs to a run of another spec, or on other images; BadAdapter: it is damaged.
        """
        tensors, about = unpack(blob)
        if not key.startswith(about["spec"]):  # in older ones without a key of the images
            same = key.startswith(about["spec"].split()[0])
            why = "of other images than the task has now" if same else "another RunSpec's"
            raise errors.AdapterMismatch(f"This checkpoint is {why}; resume with what made it, or start again.")
        if about.get("backbone", self.model.fingerprint) != self.model.fingerprint:
            raise errors.AdapterMismatch("The backbone's weights changed since this checkpoint was made; start again.")
        parts: dict[str, dict[str, Tensor]] = {"adapter": {}, "coach": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.model.load_adapter_state(parts["adapter"])
        parameters = dict(self.model.named_trainable())
        for name, value in parts["optimizer"].items():
            moment, _, name = name.partition(".")
            self.optimizer.state[parameters[name]][moment] = value.clone().to(parameters[name].device)
        self.coach.load(parts["coach"])
        self.epochs, self.seconds, self.peak = about["epochs"], about["seconds"], about["peak"]
        if best := about.get("best"):
            self.best = Best(epoch=best[0], accuracy=best[1], weights=parts["best"])
