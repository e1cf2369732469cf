"""Predictions of a finished run that has none, from its saved adapter."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from peftcore import errors
from peftcore.spec import RunSpec
from peftcore.store.results import ARTIFACT, pack
from peftcore.store.runs import Store

BATCH = 64


def predict_again(store: Store, run: int) -> Iterator[tuple[int, int]]:
    """Classifies the test images with a run's adapter, keeps the predictions with the run, and yields how many of how
    many images are done.

    Raises:
        NotMeasurable: the run has no adapter; DataUnavailable, BadData: its images are not here any more.
    """
    record = store.run(run)
    blob = store.get_artifact(run, "adapter")
    if blob is None:
        raise errors.NotMeasurable(f"Run {run} is {record.status} and has no adapter, so it cannot predict.")
    started = store.last_event(run, "started")
    classes, sizes = (started["classes"], started["settings"].get("images")) if started else (None, None)
    arrays = yield from predictions(record.spec, blob, classes, f"run {run}", sizes)
    store.put_artifact(run, ARTIFACT, pack(arrays))


def predictions(
    settings: Any, blob: bytes, classes: list[str] | None, name: str, sizes: dict[str, list[int]] | None = None
) -> Generator[tuple[int, int], None, dict[str, np.ndarray]]:
    """Classifies the test images with a saved adapter; yields how many of how many are done, returns the arrays that
    `results.of_arrays` takes. `settings`: the run's; `classes` and `sizes`: of the task it was trained on, where they
    are known, the latter as in the run's conditions: how many images, and how many of the most frequent class.

    Raises DataUnavailable, BadData as `predict_again`; `name` is what errors call the run.
    """
    import torch

    from peftcore import adapters
    from peftcore.backbone.preprocess import prepare
    from peftcore.task import load_task
    from peftcore.train.recipe import choose_device

    spec = RunSpec.from_dict(settings)
    task, device = load_task(spec.task), choose_device(spec.device)
    if classes is not None and list(task.classes) != list(classes):
        raise errors.BadData(
            f"The task {spec.task} has other classes now than when {name} was trained, so its answers mean nothing."
        )
    now = {
        part: [len(of), int(np.bincount(of).max(initial=0))]
        for part, of in (("val", task.val.labels), ("test", task.test.labels))
    }
    may_change = ":" in spec.task  # a folder, say; what comes with Headroom stays as it is
    if may_change and sizes is not None and any(now[part] != list(size) for part, size in sizes.items() if part in now):
        raise errors.BadData(
            f"The task {spec.task} has other images now than when {name} was trained, and it may have been trained on "
            "some of those that it would be tested on."
        )
    yield 0, len(task.test)
    model = adapters.from_bytes(blob).to(device).eval()
    found: list[torch.Tensor] = []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
        for start in range(0, len(task.test), BATCH):
            images = prepare(
                task.test.images[start : start + BATCH], model.backbone, norm=spec.normalisation, resize=spec.resize
            )
            found.append(model(images.to(device)).float().cpu())  # (b, classes)
            yield min(start + BATCH, len(task.test)), len(task.test)
    logits = torch.cat(found)
    arrays = {"probabilities": logits.softmax(1).numpy(), "predicted": logits.argmax(1).numpy()}
    return arrays | {"labels": np.asarray(task.test.labels), "classes": np.array(task.classes)}
