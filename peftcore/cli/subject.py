"""What a command that measures a trained model works on: a run's or a saved adapter, and images with labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from peftcore import errors
from peftcore.adapters.load import from_bytes, load_adapter
from peftcore.adapters.save import ABOUT
from peftcore.backbone.preprocess import prepare
from peftcore.model import TunedModel
from peftcore.spec import RunSpec
from peftcore.store.record import number_of
from peftcore.store.runs import Store
from peftcore.task import Task, load_task


def subject(source: str, task: str = "", images: int = 200) -> tuple[TunedModel, Tensor, Tensor]:
    """The model of a run or of a saved adapter, and the first validation images of its task with their labels.

    Raises: as `trained` and `pictures`.
    """
    model, spec = trained(source, task)
    x, y, _ = pictures(model, spec, slice(images))
    return model, x, y


def trained(source: str, task: str = "") -> tuple[TunedModel, RunSpec]:
    """The model of a run or of a saved adapter, and its spec, with `task` in place of its own where one is given.

    Raises:
        UnknownName: no such run.
        BadAdapter: no adapter was kept, or the folder holds none that names its task.
    """
    if (run := number_of(source)) is not None:
        store = Store()
        spec = RunSpec.of(store.run(run).spec)
        blob = store.get_artifact(run, "adapter")
        if blob is None:
            raise errors.BadAdapter(f"Run {run} has no adapter: it has not finished.")
        model = from_bytes(blob)
    else:
        model = load_adapter(source)
        path = Path(source)
        about = json.loads(((path.parent if path.is_file() else path) / ABOUT).read_text()).get("spec")
        if not about and not task:
            raise errors.BadAdapter(f"{source!r} does not say what it was trained on; give --task NAME.")
        spec = RunSpec.of(about or {"task": task})
    return model, spec.model_copy(update={"task": task}) if task else spec


def pictures(
    model: TunedModel, spec: RunSpec, which: slice, part: Literal["val", "test"] = "val"
) -> tuple[Tensor, Tensor, Task]:
    """Images of the spec's task as the model reads them, their labels, and the task.

    Raises:
        UnknownName: no such task.
        BadData: the task has another number of classes than the model.
    """
    task = load_task(spec.task)
    if len(task.classes) != model.head.out_features:
        raise errors.BadData(
            f"{spec.task} has {len(task.classes)} classes and this classifier {model.head.out_features}; name a task "
            "with the adapter's own classes."
        )
    split = getattr(task, part)
    x = prepare(split.images[which], model.backbone, spec.normalisation, resize=spec.resize)
    return x, torch.tensor(split.labels[which]), task
