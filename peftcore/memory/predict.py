"""The bytes of a training step, predicted: the same model and the same step on tensors without data.

The model is built on the meta device; its tensors are then replaced by PyTorch's fake ones, which have no data either
but name a device, so that operators choose the kernels (attention above all) and autocast rules of that device.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from peftcore import errors
from peftcore.backbone.load import device_type, load_backbone
from peftcore.features.plan import CachePlan, plan_cache
from peftcore.memory.kernels import AsOnCuda, WithoutData
from peftcore.memory.report import MemoryReport
from peftcore.memory.step import followed
from peftcore.model import TunedModel, attach, refuse_idle
from peftcore.spec import RunSpec
from peftcore.task import load_task


def predict_memory(
    spec: RunSpec, *, num_classes: int | None = None, image_size: int | None = None, plan: CachePlan | None = None
) -> MemoryReport:
    """Bytes of one steady training step of `spec`, by component, without weights or the device.

    The number of classes and of images is the task's: a step has no more images than the task trains on, and a side
    method's frozen features of all images that training reads count where `plan_cache`, or `plan` if given, puts them.
    With `num_classes` the task is not read: the batch is the spec's, and of cached features only the batch's count.
    `image_size`: pixels, in place of the spec's. Kernels' scratch and the CUDA context are not counted.

    Raises:
        UnknownName, DoesNotFit, InvalidSetting, OutOfMemory: as `load_backbone`, `attach` and `plan_cache` do.
        NotMeasurable: what a step computes depends on the numbers in its tensors.
        DataUnavailable: the task's images are not here, so their number is not known; and what `load_task` raises.
    """
    started, spec, task = time.perf_counter(), RunSpec.of(spec), None
    spec = spec if image_size is None else spec.replace(image_size=image_size)
    if num_classes is None:
        task = load_task(spec.task)
        num_classes = len(task.classes)
    model = attach_without_weights(spec, num_classes)
    batch = min(spec.batch_size, len(task.train)) if task else spec.batch_size
    target = target_device(spec.device)
    try:
        with without_data(model, target, spec.precision):
            plan = plan or plan_cache(model, len(task.train) + len(task.val) if task else 0, spec)
            images = (batch, *model.backbone.input_size)
            report = step_without_data(model, images, spec, plan.place != "none", plan.held(target))
    except (RuntimeError, ValueError, AssertionError) as error:
        _attached(spec, num_classes, "cpu")  # raises DoesNotFit where it does not run with data either
        raise errors.NotMeasurable(
            f"The memory of {spec.method.title} on {spec.backbone} cannot be predicted, as what it computes depends on "
            f"the numbers in its tensors ({str(error).splitlines()[0][:99]}). It can be trained and measured."
        ) from error
    return replace(report, device=target, cache=plan.to_dict(), seconds=time.perf_counter() - started)


def attach_without_weights(spec: RunSpec, num_classes: int) -> TunedModel:
    """The model of a spec on the meta device; on random weights where its method reads some as it is attached."""
    try:
        return _attached(spec, num_classes, "meta")
    except errors.NeedsWeights:
        return _attached(spec, num_classes, "cpu")


def _attached(spec: RunSpec, num_classes: int, device: str) -> TunedModel:
    backbone = load_backbone(spec.backbone, pretrained=False, device=device, img_size=spec.image_size)
    return attach(backbone, spec.method, num_classes)


def target_device(device: str) -> str:
    """'cpu' or 'cuda': what a spec's device means on this machine."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device_type(device)


def step_without_data(
    model: TunedModel, images: tuple[int, ...], spec: RunSpec, cached: bool = False, held: int = 0
) -> MemoryReport:
    """A steady step on images of shape (B, C, H, W), within `without_data`. The optimizer is AdamW, as in training.

    cached: the batch's features were computed before. held: bytes of the cached features of all images.
    """
    batch, labels = torch.empty(images), torch.zeros(images[0], dtype=torch.int64)
    optimizer = _steady_optimizer(model.trainable_parameters())
    optimizer.register_step_pre_hook(
        lambda *_: refuse_idle(model, [name for name, tensor in model.named_trainable() if tensor.grad is None])
    )
    features = None
    if cached:
        with torch.autocast("cpu", torch.bfloat16, enabled=spec.precision == "bf16"):
            one, batch = model.features(batch[:1]), None
        dtype = torch.float32 if spec.cache_precision == "bf16" else None  # FeatureCache.batch gives float32 then
        features = tuple(t.new_empty((images[0], *t.shape[1:]), dtype=dtype) for t in one)
    cache = [torch.empty(held, dtype=torch.uint8)] if held else []
    ledger = followed(model, batch, labels, optimizer, features, cache, spec.precision)
    return ledger.report(precision=spec.precision, batch_size=images[0], predicted=True)


@contextmanager
def without_data(model: nn.Module, target: str, precision: str) -> Iterator[None]:
    """Fake CPU tensors for those that the model's modules hold, shared ones still shared; operators as on `target`."""
    if target not in ("cpu", "cuda"):
        raise errors.InvalidSetting(f"Memory can be predicted for 'cpu' and 'cuda', not for {target!r}.")
    made: dict[Tensor, Tensor] = {}  # keeps the tensors it replaces alive, so that no identity is used twice

    def fake(tensor: Tensor) -> Tensor:
        if tensor not in made:
            new = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
            made[tensor] = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        return made[tensor]

    with FakeTensorMode(), AsOnCuda(half=precision == "bf16") if target == "cuda" else WithoutData():
        for module in model.modules():  # parameters, buffers, and tensors that are neither
            for held in (vars(module), *(part for part in vars(module).values() if isinstance(part, dict))):
                held.update({name: fake(value) for name, value in held.items() if isinstance(value, Tensor)})
        yield


def _steady_optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW whose state exists, as after a first step; fused, as `recipe.make_optimizer` makes it."""
    optimizer = torch.optim.AdamW(parameters, fused=True)
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return optimizer
