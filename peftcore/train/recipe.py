"""The recipe of a run: device, optimizer, learning rate, random numbers, and what helps where memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from peftcore import errors
from peftcore.model import TunedModel
from peftcore.spec import RunSpec


def choose_device(name: str) -> torch.device:
    """'auto' is the GPU where there is one.

    Raises:
        InvalidSetting: no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise NotImplementedError
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise errors.InvalidSetting(f"There is no device {name!r} on this machine; use 'auto' or 'cpu'.") from None
    return device


def make_optimizer(model: TunedModel, spec: RunSpec) -> torch.optim.AdamW:
    """AdamW; matrices decay, vectors (biases, norms, gates) do not; a method may give tensors a rate of their own."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_trainable():
        decay = spec.decay if parameter.ndim > 1 else 0.0
        groups.setdefault((decay, spec.method.lr_ratio_of(name)), []).append(parameter)
    settings = [{"params": p, "weight_decay": decay, "lr_ratio": ratio} for (decay, ratio), p in groups.items()]
    return torch.optim.AdamW(settings, lr=spec.lr, fused=True)  # one kernel for all tensors, and no temporary ones


def compiled(model: TunedModel) -> Callable[[Tensor], Tensor]:
    """The model through torch.compile, which happens at the first call.

    Raises (at a call):
        InvalidSetting: this machine cannot compile it: it has no C++ compiler, say.
    """
    torch._dynamo.reset()  # else the ninth model of one architecture runs eagerly, without a word
    fast = torch.compile(model)

    def call(images: Tensor) -> Tensor:
        try:
            return fast(images)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            raise errors.InvalidSetting(
                f"torch.compile does not work here: {str(error).strip().splitlines()[0]} Use compile=False."
            ) from error

    return call


def learning_rate(step: int, steps: int, spec: RunSpec) -> float:
    """Linear rise over the first `warmup` share of the steps, then a cosine to zero. `step` counts from 1."""
    rise = round(spec.warmup * steps)
    if step <= rise:
        return spec.lr * step / rise
    return spec.lr * 0.5 * (1 + math.cos(math.pi * (step - 1 - rise) / max(1, steps - rise)))


def generator_of(seed: int, epoch: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(_number(seed, epoch, step))


@contextmanager
def seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Random numbers inside (dropout) follow from seed and step, in a stream apart from `generator_of`'s; those outside
    go on as if nothing had happened."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_number(seed, step, 0, 1))
        yield


def _number(*of: int) -> int:
    return int(np.random.SeedSequence(of).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def with_remedies(spec: RunSpec) -> Iterator[None]:
    """Raises OutOfMemory, a sentence with remedies, in place of torch's own error."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        remedies = [f"a batch smaller than {spec.batch_size}"]
        if spec.precision == "fp32":
            remedies.append("precision='bf16'")
        if spec.method.kind == "in-backbone":
            remedies.append("a side method such as LAST, which keeps nothing of the backbone")
        detail = str(error).strip().splitlines()[0]
        raise errors.OutOfMemory(f"The device ran out of memory. Try {', or '.join(remedies)}. ({detail})") from error
