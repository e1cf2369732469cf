"""What a command that measures a trained model works on: a run's or a saved adapter, and images with labels."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from peftcore import errors
from peftcore.adapters.load import from_bytes, load_adapter
from peftcore.adapters.save import ABOUT
from peftcore.backbone.preprocess import prepare
from peftcore.model import TunedModel
from peftcore.spec import RunSpec
from peftcore.store.runs import Store
from peftcore.task import load_task


def subject(source: str, task: str = "", images: int = 200) -> tuple[TunedModel, Tensor, Tensor]:
    """The model of a run or of a saved adapter, and the first validation images of its task with their labels.

    Raises:
        UnknownName: no such run or task.
        BadAdapter: no adapter was kept, or the folder holds none that names its task.
    """
    if source.isdecimal():
        store = Store()
        spec = RunSpec.of(store.run(int(source)).spec)
        blob = store.get_artifact(int(source), "adapter")
        if blob is None:
            raise errors.BadAdapter(f"Run {source} has no adapter: it has not finished.")
        model = from_bytes(blob)
    else:
        model = load_adapter(source)
        about = json.loads((Path(source) / ABOUT).read_text()).get("spec")
        if not about and not task:
            raise errors.BadAdapter(f"{source!r} does not say what it was trained on; give --task NAME.")
        spec = RunSpec.of(about or {"task": task})
    split = load_task(task or spec.task).val
    x = prepare(split.images[:images], model.backbone, spec.normalisation, resize=spec.resize)
    return model, x, torch.tensor(split.labels[:images])
