"""What a trained run answered on its test images: right and wrong by class, and how sure it was.

The predictions are kept with the run, in the store under ARTIFACT; a run of an older Headroom has none until
`peftcore.store.again` makes them from its adapter. No torch.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from peftcore import errors
from peftcore.store.runs import RunRecord, Store

if TYPE_CHECKING:
    import pandas as pd

ARTIFACT = "predictions"  # of a run: probabilities (float16), predicted, labels and classes, as a compressed .npz
BINS = 10  # of a reliability diagram
Z = 1.959963984540054  # the standard normal's 97.5 % quantile
EXTREMES = ("best", "worst", "uncertain")


def wilson(share: float, images: int) -> tuple[float, float]:
    """The 95 % interval of a share of `images` (Wilson 1927); it stays within 0 and 1."""
    middle, spread = share + Z * Z / (2 * images), Z * math.sqrt(share * (1 - share) / images + (Z / images / 2) ** 2)
    return max(0.0, (middle - spread) / (1 + Z * Z / images)), min(1.0, (middle + spread) / (1 + Z * Z / images))


@dataclass(frozen=True)
class Calibration:
    """Whether 0.8 sure is right in 0.8 of all cases, in bins of equal width.

    edges (bins + 1,); images (bins,), how many fall into each; confidence and accuracy (bins,), their means there, NaN
    in an empty bin. ece: the mean distance of the two over all images (Naeini et al. 2015, Guo et al. 2017).
    """

    edges: np.ndarray
    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float


@dataclass(frozen=True, eq=False)
class Results:
    """A run's answers on its n test images.

    probabilities (n, classes), rounded to float16 where they were kept; predicted and labels (n,), as indices into
    `classes`. `run`: its number, None for one that is in no store.
    """

    probabilities: np.ndarray
    predicted: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    task: str
    run: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def right(self) -> np.ndarray:
        """(n,), whether each image was classified correctly."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % interval (Wilson)."""
        return wilson(self.accuracy, len(self))

    @cached_property
    def confidence(self) -> np.ndarray:
        """(n,), the probability of the predicted class."""
        return self.probabilities[np.arange(len(self)), self.predicted]

    @cached_property
    def margin(self) -> np.ndarray:
        """(n,), by how much the most probable class is ahead of the second."""
        top = np.sort(self.probabilities, axis=1)[:, -2:]
        return top[:, -1] - top[:, 0]

    @cached_property
    def confusion(self) -> np.ndarray:
        """(classes, classes) counts: row the label, column what was predicted."""
        from sklearn.metrics import confusion_matrix

        return confusion_matrix(self.labels, self.predicted, labels=range(len(self.classes)))

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """One row per class: class, images, right, recall with its 95 % interval (low, high), predicted, precision,
        f1. NaN where a class has no image, or was never predicted."""
        import pandas as pd
        from sklearn.metrics import precision_recall_fscore_support

        every, diagonal = range(len(self.classes)), np.diag(self.confusion)
        scores = precision_recall_fscore_support(self.labels, self.predicted, labels=every, zero_division=np.nan)
        precision, recall, f1, images = scores
        bounds = [wilson(share, int(n)) if n else (np.nan, np.nan) for share, n in zip(recall, images, strict=True)]
        low, high = zip(*bounds, strict=True)
        columns = {"class": self.classes, "images": images, "right": diagonal, "recall": recall, "low": low}
        columns |= {"high": high, "predicted": self.confusion.sum(0), "precision": precision, "f1": f1}
        return pd.DataFrame(columns)

    def calibration(self, bins: int = BINS) -> Calibration:
        edges = np.linspace(0, 1, bins + 1)
        place = np.clip(np.digitize(self.confidence, edges, right=True) - 1, 0, bins - 1)
        images = np.bincount(place, minlength=bins)
        with np.errstate(invalid="ignore"):
            sure = np.bincount(place, self.confidence, bins) / images
            right = np.bincount(place, self.right, bins) / images
        ece = float(np.nansum(images * np.abs(sure - right)) / len(self))
        return Calibration(edges, images, sure, right, ece)

    def extreme(self, which: str, count: int | None = None) -> np.ndarray:
        """Numbers of test images, the most extreme first.

        Args:
            which: "best", right and most certain; "worst", wrong and most certain; "uncertain", with the two most
                probable classes closest to each other.
        """
        if which not in EXTREMES:
            raise errors.unknown("order of images", which, EXTREMES)
        score = self.margin if which == "uncertain" else -self.confidence
        among = {"best": self.right, "worst": ~self.right, "uncertain": np.ones(len(self), bool)}[which]
        order = np.argsort(score, kind="stable")
        return order[among[order]][:count]

    def cell(self, label: int, predicted: int) -> np.ndarray:
        """Numbers of the test images of a class that were predicted as another, or as itself."""
        return np.flatnonzero((self.labels == label) & (self.predicted == predicted))

    def table(self) -> pd.DataFrame:
        """One row per test image: image, label, predicted, right, and the probability of every class."""
        import pandas as pd

        names = np.array(self.classes, object)
        columns = {"image": np.arange(len(self)), "label": names[self.labels], "predicted": names[self.predicted]}
        columns |= {"right": self.right}
        return pd.DataFrame(columns | {f"p({name})": p for name, p in zip(names, self.probabilities.T, strict=True)})

    def to_dict(self) -> dict[str, Any]:
        """All numbers but those of single images, as a JSON object; None for a number that does not exist."""
        bins = self.calibration()
        rows = [{name: _number(value) for name, value in row.items()} for row in self.per_class.to_dict("records")]
        return {
            "run": self.run,
            "task": self.task,
            "images": len(self),
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "ece": bins.ece,
            "classes": rows,
            "confusion": self.confusion.tolist(),
            "calibration": {
                name: [_number(value) for value in getattr(bins, name)]
                for name in ("edges", "images", "confidence", "accuracy")
            },
        }


def results(of: Any, store: Store | None = None) -> Results:
    """The results of a run: its number in the store or its RunRecord, or what `peftcore.run` returned.

    Raises:
        UnknownName: there is no such run; NotMeasurable: it has no predictions.
    """
    if not isinstance(of, int | np.integer | RunRecord):  # a Result; its file imports torch
        if getattr(of, "predictions", None) is None:
            raise errors.NotMeasurable(
                "results() takes the number of a run, its record, or what peftcore.run returned, with its predictions; "
                f"this is {type(of).__name__}."
            )
        return of_arrays(of.predictions, of.spec.task)
    store = store or Store()
    record = of if isinstance(of, RunRecord) else store.run(int(of))
    kept = store.get_artifact(record.id, ARTIFACT)
    if kept is None:
        raise errors.NotMeasurable(why_none(record))
    return of_arrays(unpack(kept), record.spec["task"], record.id)


def why_none(record: RunRecord) -> str:
    """Why a run has no predictions, and what to do."""
    if record.status != "finished":
        return f"Run {record.id} is {record.status}: predictions are made when a run is finished."
    return (
        f"Run {record.id} was trained by an earlier Headroom, which kept no predictions. Predict again: its saved "
        f"adapter makes them (python -m peftcore results {record.id} --again)."
    )


def of_arrays(arrays: Mapping[str, Any], task: str, run: int | None = None) -> Results:
    """From the arrays that a run ends with (the event Finished says which)."""
    return Results(
        np.asarray(arrays["probabilities"], np.float32),
        np.asarray(arrays["predicted"], int),
        np.asarray(arrays["labels"], int),
        tuple(map(str, arrays["classes"])),
        task,
        run,
    )


def pack(arrays: Mapping[str, Any]) -> bytes:
    """The arrays as one compressed file: a few hundred kB for 10,000 images of 10 classes, as most are near 0 or 1."""
    out = io.BytesIO()
    index = np.min_scalar_type(len(arrays["classes"]))
    np.savez_compressed(
        out,
        probabilities=np.asarray(arrays["probabilities"], np.float16),
        predicted=np.asarray(arrays["predicted"], index),
        labels=np.asarray(arrays["labels"], index),
        classes=np.asarray(arrays["classes"]),
    )
    return out.getvalue()


def unpack(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return dict(file)


def _number(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value
