"""A frozen timm transformer with its anatomy: blocks, heads, the Linear layers that methods adapt, and its tokens."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from peftcore import errors
from peftcore.backbone.anatomy import PROJECTIONS, Block, Site
from peftcore.backbone.weights import Origin


@dataclass(frozen=True)
class Backbone:
    """A timm transformer in eval mode, frozen, without a classifier, and its anatomy.

    `module` maps images (B, C, H, W) to pooled features (B, width). Methods never change a Backbone that is passed
    in: they work on `clone()`, which has modules of its own and the same weights in the same memory.
    """

    name: str
    module: nn.Module
    blocks: tuple[Block, ...]
    input_size: tuple[int, int, int]
    prefix_tokens: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    pretrained: bool
    origin: Origin | None = None  # the file that the weights were read from; None for random ones
    crop_pct: float = 1.0  # the share of a resized image's shorter side that its own preprocessing keeps
    options: tuple[tuple[str, Any], ...] = ()  # what else timm.create_model was given
    carries: str = ""  # the in-backbone method installed in it, of a model's own clone

    @property
    def depth(self) -> int:
        return len(self.blocks)

    @property
    def width(self) -> int:
        """Width of the pooled features, the classifier's input."""
        return getattr(self.module, "head_hidden_size", self.module.num_features)

    @property
    def heads(self) -> tuple[int, ...]:
        return tuple(block.heads for block in self.blocks)

    @property
    def grid(self) -> tuple[int, int]:
        return self.blocks[0].grid

    @property
    def hierarchical(self) -> bool:
        """True where later stages have fewer, wider tokens (Swin)."""
        return self.blocks[-1].stage > 0

    @property
    def stages(self) -> tuple[tuple[int, ...], ...]:
        """Block numbers by stage; one stage on a plain ViT."""
        return tuple(
            tuple(i for i, block in enumerate(self.blocks) if block.stage == s)
            for s in range(self.blocks[-1].stage + 1)
        )

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.module.parameters())

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the architecture's weights, names and shapes: equal where two backbones compute the same."""
        return self.hash_weights()

    def hash_weights(self) -> str:
        """The fingerprint of the weights as they are now, whoever may have changed them."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def clone(self) -> Backbone:
        """The same memory under new modules and tensors: hooks, replacements, moves and casts stay private."""
        tensors = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in self.module.parameters()}
        tensors |= {id(b): b.detach() for b in self.module.buffers()}
        return replace(self, module=copy.deepcopy(self.module, tensors))

    def to(self, device: torch.device | str) -> Backbone:
        self.module.to(device)
        return self

    def part(self, block: Block, path: str) -> nn.Module:
        """The submodule at `path` below a block; DoesNotFit where this family has none."""
        try:
            return self.module.get_submodule(f"{block.path}.{path}")
        except AttributeError:
            raise errors.DoesNotFit(f"{self.name} has no {path} in {block.path}; choose another projection.") from None

    def site(self, block: Block, projection: str) -> Site:
        """Where a projection (q, k, v, proj, fc1, fc2) is computed.

        Raises:
            DoesNotFit: this family computes it in no Linear of its own.
        """
        for path, third in PROJECTIONS[projection]:
            try:
                linear = self.module.get_submodule(f"{block.path}.{path}")
            except AttributeError:
                continue
            if isinstance(linear, nn.Linear):
                rows = linear.out_features // (3 if third is not None else 1)
                start = rows * (third or 0)
                return Site(f"{block.path}.{path.rpartition('.')[0]}.{projection}", linear, slice(start, start + rows))
        raise errors.DoesNotFit(
            f"{self.name} has no linear layer of its own for {projection!r} of {block.path}; choose other projections."
        )

    def transition(self, stage: int) -> nn.Module:
        """The frozen module between the last block of stage - 1 and the first of `stage` (Swin's patch merging)."""
        return self.module.get_submodule(f"layers.{stage}.downsample")

    def pooled(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> pooled, normed features (B, width).

        Raises:
            BadData: not a float tensor of images, or of a size other than the backbone's.
        """
        self.check_images(images)
        images = images.to(next(self.module.parameters()).dtype)  # a model that was moved to bf16, say
        return self.module.forward_head(self.module.forward_features(images), pre_logits=True)

    def check_images(self, images: Tensor, exact: bool = False) -> None:
        """Raises BadData unless `images` is a float tensor of one or more images of this backbone's size, or of another
        that its module takes (timm's dynamic_img_size). `exact`: of no other, since `grid` is needed."""
        channels, *size = self.input_size
        if not isinstance(images, Tensor) or not images.is_floating_point():
            kind = images.dtype if isinstance(images, Tensor) else f"an object of type {type(images).__name__}"
            raise errors.BadData(
                f"{self.name} takes a float tensor of normalised images (B, {channels}, H, W); got {kind}."
            )
        strict = exact or getattr(getattr(self.module, "patch_embed", None), "strict_img_size", True)
        fits = images.ndim == 4 and len(images) and images.shape[1] == channels
        if not fits or (strict and list(images.shape[2:]) != size):
            what = f"images (batch, {channels}, {size[0]}, {size[1]}); got {'x'.join(map(str, images.shape))}"
            raise errors.BadData(f"{self.name} takes {what}. Resize them, or load it with img_size=(height, width).")

    def finish(self, tokens: Tensor) -> Tensor:
        """The last block's tokens -> pooled features (B, width): the backbone's own final norm and pooling."""
        return self.module.forward_head(self.module.norm(tokens), pre_logits=True)

    def taps(self, images: Tensor, points: Sequence[str], chunk: int = 16, grad: bool = False) -> tuple[Tensor, ...]:
        """Tokens at `points`, without gradient unless `grad`. Points: 'PATH:in', 'PATH:out' of a block, 'pooled',
        'image'.

        Nothing after the last point is computed. Images run `chunk` at a time: what a block needs while it works
        (the MLP's hidden layer is four times as wide) is then small compared with what is returned.

        Raises:
            BadData: as `pooled`.
        """
        self.check_images(images)
        seen: dict[str, Tensor] = {"image": images.to(next(self.module.parameters()).dtype)}
        inner = {p for p in points if p not in ("image", "pooled")}
        rows, missing = slice(0), set()

        def note(point: str, tokens: Tensor) -> None:
            if point not in seen:
                seen[point] = tokens if len(images) <= chunk else tokens.new_empty(len(images), *tokens.shape[1:])
            if seen[point] is not tokens:
                seen[point][rows] = tokens
            missing.discard(point)
            if not missing and "pooled" not in points:
                raise _Enough

        handles = []
        for path in {p.rpartition(":")[0] for p in inner}:
            block = self.module.get_submodule(path)
            if f"{path}:in" in inner:
                handles.append(block.register_forward_pre_hook(lambda _, args, p=f"{path}:in": note(p, args[0])))
            if f"{path}:out" in inner:
                handles.append(block.register_forward_hook(lambda _, args, out, p=f"{path}:out": note(p, out)))
        try:
            with torch.set_grad_enabled(grad):
                for start in _starts(images if inner or "pooled" in points else images[:0], chunk):
                    rows, missing = slice(start, start + chunk), set(inner)
                    with suppress(_Enough):
                        note("pooled", self.pooled(images[rows]))
        finally:
            for handle in handles:
                handle.remove()
        return tuple(seen[p] for p in points)


def _starts(images: Tensor, chunk: int) -> Sequence[int]:
    """Where each chunk begins. Tensors without data (a prediction's) only count for their bytes, and of very many
    chunks all but the first repeat each other: some of them are enough."""
    starts = range(0, len(images), chunk)
    many = isinstance(images, FakeTensor) and len(starts) > _CHUNKS_WITHOUT_DATA
    return (*starts[: _CHUNKS_WITHOUT_DATA - 1], starts[-1]) if many else starts


_CHUNKS_WITHOUT_DATA = 16


class _Enough(Exception):
    """Raised inside a forward once all that was asked for has been seen."""


def by_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One value for each of `channels`: those given, or their mean where their number differs."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels
