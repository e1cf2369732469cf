"""Whether a run has stopped improving, by its validation images alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PATIENCE = 5  # epochs without improvement that are called a plateau
LEAST_FALL = 0.01  # of the lowest loss: a smaller fall is no improvement


@dataclass(frozen=True)
class Plateau:
    """Nothing improved in the `epochs` after epoch `since`, which has the highest `accuracy` or the lowest `loss`,
    whichever came later."""

    since: int
    epochs: int
    accuracy: float
    loss: float

    @property
    def sentence(self) -> str:
        return (
            f"Plateau since epoch {self.since}: in the {self.epochs} epochs after it the validation accuracy never "
            f"rose above {self.accuracy:.3f}, and the validation loss never fell {LEAST_FALL:.0%} below "
            f"{self.loss:.3g}."
        )


def plateau(evaluations: Iterable[Mapping[str, Any]], patience: int = PATIENCE) -> Plateau | None:
    """The plateau on which a run is, or on which it ended; None where something improved in the last epochs.

    An epoch improves on those before it where its validation accuracy is above the highest of them, by however little,
    or its validation loss more than LEAST_FALL below the lowest. A plateau is `patience` epochs in a row that improve
    on nothing.

    Args:
        evaluations: events of the kind 'evaluation', in order; those of the validation images count.
    """
    accuracy, loss, since, last = -1.0, float("inf"), 0, 0
    for event in evaluations:
        if event["split"] != "val":
            continue
        last = event["epoch"]
        if event["accuracy"] > accuracy or event["loss"] < loss * (1 - LEAST_FALL):
            since = last
        accuracy, loss = max(accuracy, event["accuracy"]), min(loss, event["loss"])
    return Plateau(since, last - since, accuracy, loss) if last - since >= patience else None
