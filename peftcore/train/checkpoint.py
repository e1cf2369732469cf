"""The state of a run between two epochs, as one blob: what it takes to go on and end with the weights it would have had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from peftcore import errors
from peftcore.adapters.packing import pack, unpack

if TYPE_CHECKING:
    from peftcore.train.loop import Trainer

LIMIT = 64_000_000  # bytes: larger states are not kept, so such a run cannot resume


@dataclass(frozen=True)
class Best:
    """The weights of the epoch (from 1) that did best on the validation images, in host memory."""

    epoch: int
    accuracy: float
    state: dict[str, Tensor]


def state_of(trainer: Trainer) -> bytes | None:
    """Everything that decides the rest of the run: weights, AdamW's moments, the best weights so far where they are kept, and how
    far it is."""
    tensors = {f"adapter.{n}": t for n, t in trainer.model.adapter_state().items()}
    for name, parameter in trainer.model.named_trainable():
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    tensors |= {f"coach.{n}": t for n, t in trainer.coach.state().items()}
    best = trainer.best
    if best:
        tensors |= {f"best.{n}": t for n, t in best.state.items()}
    if sum(t.nbytes for t in tensors.values()) > LIMIT:
        return None
    about = {
        "spec": trainer.spec.key,
        "step": trainer.step,
        "epochs": trainer.epochs,
        "seconds": trainer.seconds,
        "peak": trainer.peak,
        "best": best and [best.epoch, best.accuracy],
    }
    return pack(tensors, about)


def restore(trainer: Trainer, blob: bytes) -> None:
    tensors, about = unpack(blob)
    if about["spec"] != trainer.spec.key:
        raise errors.AdapterMismatch("This checkpoint belongs to another RunSpec; resume with the spec that made it.")
    trainer.model.load_adapter_state(
        {n.removeprefix("adapter."): t for n, t in tensors.items() if n.startswith("adapter.")}
    )
    for name, parameter in trainer.model.named_trainable():
        keys = [k for k in ("step", "exp_avg", "exp_avg_sq") if f"optimizer.{k}.{name}" in tensors]
        trainer.optimizer.state[parameter] = {
            k: tensors[f"optimizer.{k}.{name}"].clone().to(trainer.device) for k in keys
        }
    trainer.coach.load({n.removeprefix("coach."): t for n, t in tensors.items() if n.startswith("coach.")})
    if about.get("best"):
        state = {n.removeprefix("best."): t for n, t in tensors.items() if n.startswith("best.")}
        trainer.best = Best(*about["best"], state)
    trainer.step, trainer.epochs, trainer.peak = about["step"], about["epochs"], about["peak"]
    trainer.first_epoch = len(trainer.epochs)
    trainer.begun -= about["seconds"]
