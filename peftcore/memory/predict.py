"""The bytes of a training step, predicted: the same model and the same step on tensors without data.

The model is built on the meta device; its tensors are then replaced by PyTorch's fake ones, which have no
data either but name a device, so that operators choose the kernels (attention above all) and autocast rules
of that device.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from peftcore import errors
from peftcore.backbone.load import load_backbone
from peftcore.features.plan import CachePlan, plan_cache
from peftcore.memory.kernels import AsOnCuda
from peftcore.memory.measure import measure_step
from peftcore.memory.report import MemoryReport
from peftcore.model import attach
from peftcore.spec import RunSpec
from peftcore.task import load_task, task_card


def predict_memory(
    spec: RunSpec,
    *,
    num_classes: int | None = None,
    image_size: int | None = None,
    plan: CachePlan | None = None,
) -> MemoryReport:
    """Bytes of one steady training step of `spec`, by component, without weights or the device.

    The number of classes and of images is the task's: a step has no more images than the task trains on, and a side
    method's frozen features of all images that training reads count where `plan_cache` puts them, or `plan` says they
    are. With `num_classes` nobody looks at the task: the batch is as the spec says, and of cached features only those of
    the batch count. `image_size`: pixels, by default the backbone's own. Kernels' scratch and the CUDA context are not in
    it.

    Raises:
        UnknownName, DoesNotFit, InvalidSetting, OutOfMemory: as `load_backbone`, `attach` and `plan_cache` do.
        DataUnavailable: the task's images are not here, so nobody knows how many there are; and what `load_task` raises.
    """
    started, spec = time.perf_counter(), RunSpec.of(spec)
    task = load_task(spec.task) if num_classes is None else None
    size = {} if image_size is None else {"img_size": image_size}
    backbone = load_backbone(spec.backbone, pretrained=False, device="meta", **size)
    model = attach(backbone, spec.method, len(task.classes) if task else num_classes)
    batch = min(spec.batch_size, len(task.train)) if task else spec.batch_size
    target = target_device(spec.device)
    with without_data(model, target, spec.precision):
        plan = plan or plan_cache(model, len(task.train) + len(task.val) if task else 0, spec)
        images = (batch, *model.backbone.input_size)
        report = _step(model, images, spec.precision, plan.place != "none", plan.held(target))
    return replace(report, device=target, cache=plan.to_dict(), seconds=time.perf_counter() - started)


def predict_step(
    model: nn.Module,
    images: tuple[int, int, int, int],
    *,
    target: str = "cpu",
    precision: str = "fp32",
    cached: bool = False,
) -> MemoryReport:
    """Bytes of a steady step of a model on the meta device with images of shape (B, C, H, W), on `target`.

    The model is given fake tensors in place of its meta ones. The optimizer is AdamW, as in training. `cached`: the
    batch's features were computed before.
    """
    with without_data(model, target, precision):
        return replace(_step(model, images, precision, cached), device=target)


def target_device(device: str) -> str:
    """'cpu' or 'cuda': what a spec's device means on this machine."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device).type


def classes_of(task: str) -> int:
    """How many classes a task has; only a task that says so nowhere but in its data is loaded."""
    return len(task_card(task).classes or load_task(task).classes)


def _step(model: nn.Module, images: tuple[int, ...], precision: str, cached: bool, held: int = 0) -> MemoryReport:
    """A step on tensors without data. held: bytes of the features of all images."""
    batch, labels = torch.empty(images), torch.zeros(images[0], dtype=torch.int64)
    optimizer = _steady_optimizer([p for p in model.parameters() if p.requires_grad])
    features = None
    if cached:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            one, batch = model.features(batch[:1]), None
        features = tuple(t.new_empty((images[0], *t.shape[1:])) for t in one)
    cache = [torch.empty(held, dtype=torch.uint8)] if held else []
    report = measure_step(model, batch, labels, optimizer, features=features, cache=cache, precision=precision)
    return replace(report, predicted=True)


@contextmanager
def without_data(model: nn.Module, target: str, precision: str) -> Iterator[None]:
    """Fake CPU tensors for the model's meta ones, shared ones still shared, and operators as on `target`."""
    if target not in ("cpu", "cuda"):
        raise errors.InvalidSetting(f"Memory can be predicted for 'cpu' and 'cuda', not for {target!r}.")
    made: dict[Tensor, Tensor] = {}  # keeps the meta tensors alive, so that no identity is used twice

    def fake(tensor: Tensor) -> Tensor:
        if tensor not in made:
            new = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
            made[tensor] = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        return made[tensor]

    with FakeTensorMode(), AsOnCuda(half=precision == "bf16") if target == "cuda" else nullcontext():
        for module in model.modules():
            for held in (module._parameters, module._buffers):
                held.update({name: fake(tensor) for name, tensor in held.items() if tensor is not None})
        yield


def _steady_optimizer(parameters: list[Tensor]) -> torch.optim.Optimizer:
    """AdamW whose state exists, as after a first step; fused, as `recipe.make_optimizer` makes it."""
    optimizer = torch.optim.AdamW(parameters, fused=True)
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return optimizer
