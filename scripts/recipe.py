"""What is trained on the drawn pictures, and how its initial weights are prepared.

These halve the time to the first useful features on a CPU: a cosine-basis patch embedding,
sine-cosine positions and mimetic attention (Trockman & Kolter 2023, "Mimetic Initialization of Self-Attention
Layers").
"""

from __future__ import annotations

import math

import torch
from drawing import Labels
from shapes import CLASSES, HUES, TEXTURES
from torch import Tensor, nn
from torch.nn import functional as F

# Global outputs, read from what the backbone pools, and dense ones, read from every token.
GLOBAL = {
    "classes": CLASSES,
    "hues": len(HUES),
    "kinds": len(TEXTURES),
    "rows": 8,
    "columns": 8,
    "quarters": 4,
    "heading": 2,
}
DENSE = {
    "class": CLASSES + 1,
    "kind": len(TEXTURES),
    "hue": len(HUES) + 1,
    "centre": 1,
    "heading": 2,
    "stripes": 2,
}
WEIGHTS = {
    "classes": 1.0, "hues": 0.4, "kinds": 0.4, "rows": 0.4, "columns": 0.4, "quarters": 2.0, "heading": 1.0,
    "patch_class": 1.0, "patch_kind": 0.7, "patch_hue": 0.3, "patch_centre": 1.0, "patch_heading": 1.0,
    "patch_stripes": 0.5,
}  # fmt: skip


class Reader(nn.Module):
    """One linear layer on the pooled token and one on the others; thrown away after pretraining.

    A token of a hierarchical backbone covers `fine` x `fine` of the labelled patches, and has outputs for each of them.
    """

    def __init__(self, width: int, fine: int = 1) -> None:
        super().__init__()
        self.fine = fine
        self.whole = nn.Linear(width, sum(GLOBAL.values()))
        self.patch = nn.Linear(width, fine**2 * sum(DENSE.values()))
        for layer in (self.whole, self.patch):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Tokens, (B, 1 + N, width) of a ViT or (B, h, w, width) of a Swin, to outputs by name.

        Returns the global outputs (B, k) and the dense ones (B, N, k) for the N patches in row order.
        """
        pooled, grid = (tokens[:, 0], tokens[:, 1:]) if tokens.ndim == 3 else (tokens.mean((1, 2)), tokens)
        whole = self.whole(pooled).float().split(list(GLOBAL.values()), -1)
        patch = self.patch(grid).float()
        if self.fine > 1:
            batch, rows, columns, _ = patch.shape
            patch = patch.view(batch, rows, columns, self.fine, self.fine, -1).transpose(2, 3).flatten(1, 4)
        patch = patch.split(list(DENSE.values()), -1)
        return dict(zip(GLOBAL, whole, strict=True)), dict(zip(DENSE, patch, strict=True))


def losses(whole: dict[str, Tensor], patch: dict[str, Tensor], labels: Labels) -> dict[str, Tensor]:
    """One number per group of labels; shares are soft targets, angles are points on the circle."""
    out = {k: F.cross_entropy(whole[k], getattr(labels, k)) for k in ("classes", "hues", "kinds", "rows", "columns")}
    out["quarters"] = F.smooth_l1_loss(whole["quarters"], labels.quarters)
    out["heading"] = F.mse_loss(whole["heading"], labels.heading)
    for name in ("class", "kind", "hue"):
        out[f"patch_{name}"] = F.cross_entropy(patch[name].flatten(0, 1), getattr(labels, f"patch_{name}").flatten())
    rare = patch["centre"].new_tensor(6.0)  # few patches hold a centre
    out["patch_centre"] = 3 * F.binary_cross_entropy_with_logits(
        patch["centre"][..., 0], labels.patch_centre, pos_weight=rare
    )
    for name, where in (("heading", labels.patch_filled), ("stripes", labels.patch_striped)):
        error = (patch[name] - getattr(labels, f"patch_{name}")).square().mean(-1)
        out[f"patch_{name}"] = (error * where).sum() / where.sum().clamp(min=1)
    return out


def total(parts: dict[str, Tensor]) -> Tensor:
    return sum(WEIGHTS[name] * value for name, value in parts.items())


@torch.no_grad()
def accuracies(whole: dict[str, Tensor], patch: dict[str, Tensor], labels: Labels) -> dict[str, float]:
    """Shares of right answers, the mean error of counts, the median error of angles in degrees."""

    def same(name: str) -> float:
        return (whole[name].argmax(-1) == getattr(labels, name).argmax(-1)).float().mean().item()

    def angle(out: Tensor, target: Tensor, turns: int = 1) -> float:
        gap = torch.atan2(out[..., 1], out[..., 0]) - torch.atan2(target[..., 1], target[..., 0])
        gap = torch.remainder(gap + math.pi, 2 * math.pi) - math.pi
        return gap.abs().median().item() * 180 / math.pi / turns

    filled, striped = labels.patch_filled > 0, labels.patch_striped > 0
    centre = patch["centre"][..., 0] > 0
    hit = (centre & (labels.patch_centre > 0)).sum().item()
    return {
        "class": same("classes"), "hue": same("hues"), "kind": same("kinds"), "row": same("rows"),
        "column": same("columns"),
        "quarters_error": (whole["quarters"] - labels.quarters).abs().mean().item(),
        "heading_degrees": angle(whole["heading"], labels.heading),
        "patch_class": (patch["class"].argmax(-1) == labels.patch_class)[filled].float().mean().item(),
        "patch_kind": (patch["kind"].argmax(-1) == labels.patch_kind).float().mean().item(),
        "patch_hue": (patch["hue"].argmax(-1) == labels.patch_hue)[filled].float().mean().item(),
        "centre_f1": 2 * hit / max(1.0, centre.sum().item() + labels.patch_centre.sum().item()),
        "stripes_degrees": angle(patch["stripes"][striped], labels.patch_stripes[striped], turns=2),
    }  # fmt: skip


@torch.no_grad()
def prepare(model: nn.Module, seed: int) -> None:
    """In place: cosine patches, sine-cosine positions where there are any, mimetic attention; the rest stays timm's."""
    generator = torch.Generator().manual_seed(seed)
    weight = model.patch_embed.proj.weight  # (width, 3, p, p)
    weight.copy_(_cosine_basis(weight.shape[0], weight.shape[-1]))
    model.patch_embed.proj.bias.zero_()
    if hasattr(model, "pos_embed"):
        model.pos_embed.zero_()
        positions = _sine_cosine(model.embed_dim, *model.patch_embed.grid_size)
        model.pos_embed[0, model.num_prefix_tokens :] = 0.5 * positions
    for module in model.modules():
        if hasattr(module, "qkv"):
            _mimetic(module, generator)


def _cosine_basis(width: int, patch: int) -> Tensor:
    """(width, 3, patch, patch): half the rows cosines of brightness, the rest those of two colour axes."""
    axis = (torch.arange(patch) + 0.5) * math.pi / patch
    waves = torch.cos(torch.arange(patch)[:, None] * axis)  # (frequency, pixel)
    plane = torch.einsum("fi,gj->fgij", waves, waves).flatten(0, 1)  # (p*p, p, p)
    plane = plane / plane.flatten(1).norm(dim=1)[:, None, None]
    order = sorted(range(patch * patch), key=lambda k: (k // patch) + (k % patch) + 1e-3 * k)
    axes = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
    axes = axes / axes.norm(dim=1, keepdim=True)
    share = (min(patch * patch, width // 2), width // 4, width - width // 4 - min(patch * patch, width // 2))
    rows = [axes[c, :, None, None] * plane[order[i % len(order)]] for c, n in enumerate(share) for i in range(n)]
    gain = torch.tensor([0.12 if i == 0 else 0.5 for n in share for i in range(n)])  # flat areas are loud anyway
    return torch.stack(rows) * gain[:, None, None, None]


def _sine_cosine(width: int, rows: int, columns: int) -> Tensor:
    """(rows * columns, width), a quarter each for sine and cosine of the row and of the column."""
    speed = 1.0 / 100.0 ** (torch.arange(width // 4) / (width // 4))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    parts = [f(a.flatten()[:, None] * speed) for a in (y, x) for f in (torch.sin, torch.cos)]
    return torch.cat(parts, 1)


def _mimetic(attention: nn.Module, generator: torch.Generator) -> None:
    """Per head W_q^T W_k near 0.7 Z + 0.7 I, and W_proj W_v near 0.4 Z - 0.4 I, by singular vectors."""
    width, heads = attention.proj.weight.shape[0], attention.num_heads
    head = width // heads
    query, key, value = attention.qkv.weight.view(3, width, width)
    for h in range(heads):
        z = torch.randn(width, width, generator=generator) / math.sqrt(width)
        left, scale, right = torch.linalg.svd(0.7 * z + 0.7 * torch.eye(width))
        rows = slice(h * head, (h + 1) * head)
        query[rows] = (left[:, :head] * scale[:head].sqrt()).T
        key[rows] = scale[:head].sqrt()[:, None] * right[:head]
    z = torch.randn(width, width, generator=generator) / math.sqrt(width)
    left, scale, right = torch.linalg.svd(0.4 * z - 0.4 * torch.eye(width))
    attention.proj.weight.copy_(left * scale.sqrt())
    value.copy_(scale.sqrt()[:, None] * right)
