"""Predictions of a finished run that has none, from its saved adapter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from peftcore import errors
from peftcore.store.results import ARTIFACT, pack
from peftcore.store.runs import Store

BATCH = 64


def predict_again(store: Store, run: int) -> Iterator[tuple[int, int]]:
    """Classifies the test images with a run's adapter, keeps the predictions with the run, and yields how many of how
    many images are done.

    Raises:
        NotMeasurable: the run has no adapter; DataUnavailable, BadData: its images are not here any more.
    """
    import torch

    from peftcore import adapters
    from peftcore.backbone.load import load_backbone
    from peftcore.backbone.preprocess import prepare
    from peftcore.spec import RunSpec
    from peftcore.task import load_task
    from peftcore.train.recipe import choose_device

    record = store.run(run)
    blob = store.get_artifact(run, "adapter")
    if blob is None:
        raise errors.NotMeasurable(f"Run {run} is {record.status} and has no adapter, so it cannot predict.")
    spec, started = RunSpec.from_dict(record.spec), store.last_event(run, "started")
    task, device = load_task(spec.task), choose_device(spec.device)
    if started and list(task.classes) != started["classes"]:
        raise errors.BadData(
            f"The task {spec.task} has other classes now than when run {run} was trained, so its answers mean nothing."
        )
    yield 0, len(task.test)
    backbone = load_backbone(spec.backbone, spec.pretrained, spec.weights)
    model = adapters.from_bytes(blob, backbone).to(device).eval()
    found: list[torch.Tensor] = []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
        for start in range(0, len(task.test), BATCH):
            images = prepare(
                task.test.images[start : start + BATCH], backbone, norm=spec.normalisation, resize=spec.resize
            )
            found.append(model(images.to(device)).float().cpu())  # (b, classes)
            yield min(start + BATCH, len(task.test)), len(task.test)
    logits = torch.cat(found)
    arrays = {"probabilities": logits.softmax(1).numpy(), "predicted": logits.argmax(1).numpy()}
    arrays |= {"labels": np.asarray(task.test.labels), "classes": np.array(task.classes)}
    store.put_artifact(run, ARTIFACT, pack(arrays))
