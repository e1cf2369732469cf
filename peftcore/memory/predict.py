"""The bytes of a training step, predicted: the same model and the same step on tensors without data.

The model is built on the meta device; its tensors are then replaced by PyTorch's fake ones, which have no
data either but name a device, so that operators choose the kernels (attention above all) and autocast rules
of that device.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from peftcore import errors
from peftcore.memory.cuda import AsOnCuda
from peftcore.memory.report import MemoryReport
from peftcore.memory.step import is_side, measure_step
from peftcore.spec import RunSpec


def predict_memory(
    spec: RunSpec,
    *,
    num_classes: int | None = None,
    image_size: int | None = None,
    cached: bool | None = None,
    cache_images: int = 0,
) -> MemoryReport:
    """Bytes of one steady training step of `spec`, by component, without weights, data or the device.

    `num_classes`: by default the task's. `image_size`: pixels, by default the backbone's own. `cached`:
    whether a side method reads cached features; by default as the spec says, 'auto' meaning yes where
    augmentation allows it. `cache_images`: how many images' features the device holds beside the batch's;
    none by default. Kernels' scratch and the CUDA context are not in it.

    Raises:
        UnknownName, DoesNotFit, InvalidSetting: as `load_backbone` and `attach` do.
        InvalidSetting: cached features of a method that has none.
    """
    from peftcore.backbone.load import load_backbone
    from peftcore.model import attach

    started, spec = time.perf_counter(), RunSpec.of(spec)
    architecture = {} if image_size is None else {"img_size": image_size}
    backbone = load_backbone(spec.backbone, pretrained=False, device="meta", **architecture)
    model = attach(backbone, spec.method, num_classes or classes_of(spec.task))
    cached = _reads_cache(spec) if cached is None else cached
    if cached and not is_side(model):
        raise errors.InvalidSetting(
            f"{spec.method.card.title} changes what the backbone computes, so it has no features to cache; "
            "use cached=False."
        )
    target = target_device(spec.device)
    shape = (spec.batch_size, *_image_shape(model, image_size))
    report = predict_step(
        model, shape, target=target, precision=spec.precision, cached=cached, cache_images=cache_images
    )
    return replace(report, seconds=time.perf_counter() - started)


def predict_step(
    model: nn.Module,
    images: tuple[int, int, int, int],
    *,
    target: str = "cpu",
    precision: str = "fp32",
    cached: bool = False,
    cache_images: int = 0,
) -> MemoryReport:
    """Bytes of a steady step of a model on the meta device with images of shape (B, C, H, W), on `target`.

    The model is given fake tensors in place of its meta ones. The optimizer is AdamW, as in training.
    """
    with FakeTensorMode(), _rules(target, precision):
        _give_fake_tensors(model)
        batch, labels = torch.empty(images), torch.zeros(images[0], dtype=torch.int64)
        optimizer = _steady_optimizer([p for p in model.parameters() if p.requires_grad])
        features, cache = None, ()
        if cached:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                one, batch = model.features(batch[:1]), None
            features, cache = (
                tuple(t.new_empty((count, *t.shape[1:])) for t in one) for count in (images[0], cache_images)
            )
        report = measure_step(model, batch, labels, optimizer, features=features, cache=cache, precision=precision)
    return replace(report, device=target, predicted=True)


def target_device(device: str) -> str:
    """'cpu' or 'cuda': what a spec's device means on this machine."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device).type


def classes_of(task: str) -> int:
    """How many classes a task has; only a task that says so nowhere but in its data is loaded."""
    from peftcore.task import load_task, task_card

    return len(task_card(task).classes or load_task(task).classes)


def _reads_cache(spec: RunSpec) -> bool:
    return spec.method.kind == "side" and spec.cache_features is not False and spec.augmentation == "none"


def _image_shape(model: nn.Module, image_size: int | None) -> tuple[int, int, int]:
    channels, height, width = model.backbone.input_size
    return (channels, image_size or height, image_size or width)


def _give_fake_tensors(model: nn.Module) -> None:
    """Fake CPU tensors for meta ones, in every module that holds them; shared ones stay shared."""
    made: dict[Tensor, Tensor] = {}  # keeps the meta tensors alive, so that no identity is used twice

    def fake(tensor: Tensor) -> Tensor:
        if tensor not in made:
            new = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
            made[tensor] = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        return made[tensor]

    for module in model.modules():
        for held in (module._parameters, module._buffers):
            held.update({name: fake(tensor) for name, tensor in held.items() if tensor is not None})


def _steady_optimizer(parameters: list[Tensor]) -> torch.optim.Optimizer:
    """AdamW whose state exists, as after a first step; fused, as `recipe.make_optimizer` makes it."""
    optimizer = torch.optim.AdamW(parameters, fused=True)
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return optimizer


@contextlib.contextmanager
def _rules(target: str, precision: str) -> Iterator[None]:
    if target not in ("cpu", "cuda"):
        raise errors.InvalidSetting(f"Memory can be predicted for 'cpu' and 'cuda', not for {target!r}.")
    with AsOnCuda(half=precision == "bf16") if target == "cuda" else contextlib.nullcontext():
        yield
