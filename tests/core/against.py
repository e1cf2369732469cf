"""Headroom against independent code: Hugging Face PEFT, autograd, finite differences, formulas by hand.

Each function returns the largest differences by what was compared. They are relative: to the largest entry of the
oracle's result, and for trained weights to the largest distance that the oracle's weights have moved.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import petl_vit_writing
import torch
import torch.nn.functional as F
from low_rank_toys import attached, images, labels, toy
from torch import Tensor, nn
from torch.func import functional_call

import peftcore as pc
from peftcore.adapters.merged import plain_copy
from peftcore.fetch import petl_vit
from peftcore.methods._headwise import QuantisedHeadwisePair
from peftcore.methods.bi_lora import codebook, quantise
from peftcore.registry import METHODS

STEPS, LR = 10, 1e-2
TUNERS = ("lora", "dora")  # of hf_peft, whose merge is PEFT's own
MERGEABLE = [n for n in METHODS.names() if METHODS.load(n).METHOD.card.mergeable and n != "hf_peft"]
MERGEABLE += [f"hf_peft, {tuner}" for tuner in TUNERS]

Twin = tuple[nn.Parameter, nn.Parameter, Tensor]  # ours, theirs, and which entries of theirs are ours


def largest(ours: Tensor, theirs: Tensor, scale: Tensor | None = None) -> float:
    """max |ours - theirs| over max |scale|, which is `theirs` unless given."""
    scale = theirs if scale is None else scale
    return float(((ours - theirs).abs().max() / scale.abs().max()).detach())


# Hugging Face PEFT on the timm model itself


def peft_lora(family: str, dtype: torch.dtype) -> dict[str, float]:
    """LoRA on q, v, proj and fc1. Our q and v pairs are blocks of one pair of twice the rank on PEFT's fused qkv."""
    from peft import LoraConfig

    rank, alpha = 3, 6.0
    projections = ("q", "v", "proj", "fc1")
    model = attached(family, "lora", 0.1, dtype, rank=rank, alpha=alpha, projections=projections)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=["qkv", "attn.proj", "fc1"],
        rank_pattern={"qkv": 2 * rank},
        alpha_pattern={"qkv": 2 * alpha},
    )
    plain = _in_peft(family, dtype, config)
    twins = _heads(model, plain)
    for adapted in model.tuner:
        linear = f"{adapted.block.path}.attn.qkv" if adapted.projection in "qv" else adapted.site.path
        layer = plain.get_submodule(linear)
        first = rank if adapted.projection == "v" else 0
        A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        is_A, is_B = torch.zeros_like(A, dtype=torch.bool), torch.zeros_like(B, dtype=torch.bool)
        is_A[first : first + rank] = True
        is_B[adapted.site.rows, first : first + rank] = True
        twins += [(adapted.pair.lora_A.weight, A, is_A), (adapted.pair.lora_B.weight, B, is_B)]
    return _same_training(model, plain, twins)


def peft_dora(family: str, dtype: torch.dtype) -> dict[str, float]:
    """hf_peft's DoRA: PEFT's own module inside our shared, frozen backbone, against PEFT on a plain timm model."""
    from peft import LoraConfig

    options = {"r": 3, "lora_alpha": 6, "target_modules": ["qkv", "attn.proj", "fc1"]}
    model = attached(family, "hf_peft", 0.1, dtype, tuner="dora", options=options)
    plain = _in_peft(family, dtype, LoraConfig(**options, use_dora=True))
    theirs = {name.replace(".default", ""): p for name, p in plain.named_parameters()}
    own = {name: p for name, p in model.named_trainable() if not name.startswith("head.")}
    assert any("magnitude" in name for name in own)
    twins = [(p, theirs[name], torch.ones_like(p, dtype=torch.bool)) for name, p in own.items()]
    return _same_training(model, plain, twins + _heads(model, plain))


def dora_by_hand(family: str, dtype: torch.dtype) -> dict[str, float]:
    """W' = m (W + s B A) / ||W + s B A||, the norm by row, without gradient (DoRA, section 4.3), in a plain model."""
    options = {"r": 3, "lora_alpha": 6, "target_modules": ["qkv", "fc1"]}
    model = attached(family, "hf_peft", 0.1, dtype, tuner="dora", options=options)
    plain, weights = _plain(family, dtype), {}
    own = dict(model.named_trainable())
    copies = {name: p.detach().clone().requires_grad_() for name, p in own.items()}
    for name in copies:
        path = name.removesuffix(".lora_A.weight")
        if path != name:
            W = plain.get_submodule(path).weight
            V = W + 2.0 * copies[f"{path}.lora_B.weight"] @ copies[name]
            m = next(p for n, p in copies.items() if n.startswith(f"{path}.lora_magnitude_vector"))
            weights[f"{path}.weight"] = (m / V.norm(dim=1).detach())[:, None] * V
    head = {id(p): name for name, p in plain.named_parameters()}
    for part in ("weight", "bias"):
        weights[head[id(getattr(plain.get_classifier(), part))]] = copies[f"head.{part}"]
    batch = images(model.backbone)
    ours, theirs = model(batch), functional_call(plain, weights, (batch,))
    for logits in (ours, theirs):
        F.cross_entropy(logits, labels()).backward()
    errors = [largest(p.grad, copies[name].grad) for name, p in own.items()]
    return {"outputs": largest(ours, theirs), "gradients": max(errors)}


def _plain(family: str, dtype: torch.dtype) -> nn.Module:
    """The toy as a timm module with a classifier."""
    return plain_copy(attached(family, "linear", dtype=dtype))


def _in_peft(family: str, dtype: torch.dtype, config) -> nn.Module:
    """The toy with PEFT's layers in it."""
    from peft import inject_adapter_in_model

    plain = inject_adapter_in_model(config, _plain(family, dtype)).to(dtype)
    plain.get_classifier().requires_grad_(True)
    return plain.eval()


def _heads(model: pc.TunedModel, plain: nn.Module) -> list[Twin]:
    theirs = plain.get_classifier()
    pairs = [(model.head.weight, theirs.weight), (model.head.bias, theirs.bias)]
    return [(mine, other, torch.ones_like(other, dtype=torch.bool)) for mine, other in pairs]


def _same_training(model: pc.TunedModel, plain: nn.Module, twins: list[Twin]) -> dict[str, float]:
    """Gives `plain` the weights of `model`, and steps both ten times with AdamW on the same images."""
    masks: dict[nn.Parameter, Tensor] = {}
    with torch.no_grad():
        for _, theirs, where in twins:
            masks[theirs] = masks.get(theirs, torch.zeros_like(where)) | where
        for theirs in masks:
            theirs.zero_()  # entries that are none of ours stay zero, and then never matter
        for mine, theirs, where in twins:
            theirs[where] = mine.flatten()
    assert set(masks) == {p for p in plain.parameters() if p.requires_grad}
    start = [theirs.detach().clone() for _, theirs, _ in twins]
    batch, truth = images(model.backbone, 4), labels(4)
    both = (model, torch.optim.AdamW(model.trainable_parameters(), LR)), (plain, torch.optim.AdamW(masks, LR))
    found: dict[str, float] = {}
    for step in range(STEPS):
        logits = []
        for net, optimizer in both:
            optimizer.zero_grad()
            logits.append(net(batch))
            F.cross_entropy(logits[-1], truth).backward()
        for theirs, mask in masks.items():
            theirs.grad.mul_(mask)
        if step == 0:
            found["outputs"] = largest(*logits)
            found["gradients"] = max(largest(p.grad.flatten(), q.grad[where]) for p, q, where in twins)
        for _, optimizer in both:
            optimizer.step()
    moved = [(q - before)[where] for (_, q, where), before in zip(twins, start, strict=True)]
    found[f"weights after {STEPS} AdamW steps"] = max(
        largest(p.flatten(), q[where], far) for (p, q, where), far in zip(twins, moved, strict=True)
    )
    return found


def exported(family: str, dtype: torch.dtype, name: str) -> dict[str, float]:
    """Written by `export_peft`, loaded by PEFT onto a plain timm model."""
    from peft import PeftModel

    model = attached(family, name, 0.1, dtype, rank=3)
    with tempfile.TemporaryDirectory() as folder:
        pc.export_peft(model, folder)
        theirs = PeftModel.from_pretrained(plain_copy(model), folder).to(dtype).eval()
    batch = images(model.backbone)
    with torch.no_grad():
        return {"outputs": largest(model(batch), theirs(batch))}


# A plain timm model


def merged(family: str, dtype: torch.dtype, name: str) -> dict[str, float]:
    """The logits of `pc.merge`, a timm model without any of our code. `name`: a method, or 'hf_peft, TUNER'."""
    name, _, tuner = name.partition(", ")
    settings = {"tuner": tuner} if tuner else {"rank": 4} if "lora" in name else {}
    model = attached(family, name, 0.1, dtype, **settings)
    if name == "heart_lora":
        for adapted in model.tuner:
            adapted.pair.switch_off([0])
    batch = images(model.backbone)
    with torch.no_grad():
        assert name == "linear" or largest(model(batch), model.head(toy(family, dtype).pooled(batch))) > 1e-3
        return {"outputs": largest(pc.merge(model)(batch), model(batch))}


# Derivatives


def removal(family: str, dtype: torch.dtype, base: str, scale: float) -> dict[str, float]:
    """|measured / predicted - 1|, the median over heads: the loss change of removing a head's update of this scale.

    Predicted: the signed Taylor score. Measured: L - L(dW_h = 0). It falls with the scale where the score is right.
    """
    model = attached(family, "heart_lora", dtype=dtype, rank=4, dropout=0.0, base=base, scale=scale)
    batch, truth = images(model.backbone), labels()
    values = pc.head_scores(model, batch, truth, "taylor_signed").values
    rest = []
    with torch.no_grad():
        whole = F.cross_entropy(model(batch), truth)
        for adapted in model.tuner:
            A, B = adapted.pair.weights()
            for h, score in enumerate(values[adapted.layer, ("q", "v").index(adapted.projection)]):
                if h < adapted.block.heads:
                    rest_of_B = B.clone()
                    rest_of_B.unflatten(0, (adapted.block.heads, -1))[h] = 0
                    adapted.pair.weights = lambda A=A, B=rest_of_B: (A, B)
                    change = whole - F.cross_entropy(model(batch), truth)
                    rest.append(abs(float(change) / score - 1))
            del adapted.pair.weights
    return {f"measured / predicted - 1, update x {scale:g}": float(np.median(rest))}


def lean_backward(family: str, dtype: torch.dtype, gap: int = 2, stack: int = 2, **settings) -> dict[str, float]:
    """LAST's lean backward, and autograd over the same sums, which a dropout of almost zero selects."""
    settings |= dict(rank=4, gap=gap, stack=stack)
    lean = attached(family, "last", 0.3, dtype, **settings).train()
    plain = attached(family, "last", 0.3, dtype, dropout=1e-20, **settings).train()
    batch = images(lean.backbone)
    ours, theirs = lean(batch), plain(batch)
    for logits in (ours, theirs):
        F.cross_entropy(logits, labels()).backward()
    expected = dict(plain.named_trainable())
    errors = [largest(p.grad, expected[name].grad) for name, p in lean.named_trainable()]
    return {"outputs": largest(ours, theirs), "gradients": max(errors)}


# Numbers


def codes(bits: int) -> dict[str, float]:
    """The quantiser. Levels: medians of their bins through torch's inverse normal, iterated on whole tensors from zero.
    Weights: NumPy."""
    inner = torch.zeros(2 ** (bits - 1), dtype=torch.float64)
    zero = inner.new_zeros(1)
    for _ in range(500):
        edges = torch.cat([zero - torch.inf, (inner[1:] + inner[:-1]) / 2, zero])
        below = torch.special.ndtr(edges)
        inner = torch.special.ndtri((below[1:] + below[:-1]) / 2)
    levels = torch.cat([inner, -inner.flip(0)]).numpy()
    generator = torch.Generator().manual_seed(bits)
    weight = (torch.randn(24, 16, generator=generator) * 0.02 + 0.003).double()
    mean, std = weight.numpy().mean(), weight.numpy().std(ddof=1)
    near = levels[np.abs((weight.numpy()[..., None] - mean) / (std + 1e-5) - levels).argmin(-1)] * std + mean
    ours = torch.tensor(codebook(bits)[0], dtype=torch.float64)
    return {
        "its levels": largest(ours, torch.from_numpy(levels)),
        "quantised weights": largest(quantise(weight, bits), torch.from_numpy(near)),
    }


def written_again(files: list[Path]) -> int:
    """How many bytes differ when PETL-ViT's files are read and written."""
    different = 0
    for file in files:
        ours, theirs = petl_vit_writing.file_bytes(petl_vit.read(file)), file.read_bytes()
        different += abs(len(ours) - len(theirs)) + sum(a != b for a, b in zip(ours, theirs, strict=False))
    return different


def counts() -> dict[str, tuple[int, int]]:
    """(ours, the paper's or the formula's) numbers of ViT-B/16, without weights."""
    backbone = pc.load_backbone("vit_base_patch16_224", device="meta")

    def tuner(name: str, **settings):
        return pc.attach(backbone, pc.make_method(name, **settings), 10).tuner

    def weights(name: str, **settings) -> int:
        return sum(p.numel() for p in tuner(name, **settings).parameters())

    heart, pair = tuner("heart_lora", n_off=5), QuantisedHeadwisePair(12, 768, 768, 32, 1.0, 0.1, 1)
    pair.switch_off(range(5))
    for adapted in heart:
        object.__setattr__(adapted, "pair", pair)  # every pair alike; without weights none can be cut
    return {
        "LAST, weights": (weights("last"), 617_472),
        "LoRA on q and v, rank 8, weights": (weights("lora"), 294_912),
        "LoRA on q, k, v and proj, rank 8, weights": (weights("lora", projections=("q", "k", "v", "proj")), 589_824),
        "Serial LoRA, rank 8, weights": (weights("serial_lora"), 147_456),
        "Bi-LoRA, rank 32, weights": (weights("bi_lora"), 1_179_648),
        "Bi-LoRA, rank 32, 1 bit, bytes": (petl_vit_writing.packed_bytes(tuner("bi_lora")), 147_456 + 48 * 8),
        "Heart-LoRA, 5 of 12 heads off, bytes": (petl_vit_writing.packed_bytes(heart), 116_736 + 48 * 8),
    }


# pytorch-grad-cam (PyPI: grad-cam), where it is installed

GRAD_CAM_ON = ("vit_micro", "swin_micro")
GRAD_CAM_WITHIN = 1e-5


def grad_cam(name: str, dtype: torch.dtype) -> dict[int, float]:
    """Layer Grad-CAM on tokens, by layer from 0, before its library takes negative values away and rescales the rest.

    Each layer whose patches the classifier reads: the last one of a backbone pooled by its class token has none.
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = pc.attach(pc.load_backbone(name), {"name": "lora", "rank": 4}, 5, seed=0, verify=False)
    generator = torch.Generator().manual_seed(0)
    for _, parameter in model.named_trainable():
        parameter.data.normal_(0, 0.1, generator=generator)
    model, classes = model.to(dtype).eval(), [1, 4]
    x = torch.randn(len(classes), *model.backbone.input_size, generator=generator).to(dtype)
    found = {}
    for layer, block in enumerate(model.backbone.blocks[: -1 if name.startswith("vit") else None]):

        def on_grid(out: Tensor, grid: tuple[int, int] = block.grid) -> Tensor:
            if out.ndim == 4:  # a Swin's (B, rows, columns, channels)
                return out.permute(0, 3, 1, 2)
            return out[:, model.backbone.prefix_tokens :].transpose(1, 2).reshape(len(out), -1, *grid)

        theirs = model.backbone.module.get_submodule(block.path)
        with GradCAM(model, [theirs], reshape_transform=on_grid) as cam:
            targets = [ClassifierOutputTarget(label) for label in classes]
            cam(x.clone().requires_grad_(), targets)
            kept = cam.activations_and_grads
            given = kept.activations[0].numpy(), kept.gradients[0].numpy()
            raw = torch.from_numpy(cam.get_cam_image(x, theirs, targets, *given))  # (B, rows, columns)
        wide = F.interpolate(raw[:, None].float(), x.shape[2:], mode="bilinear")[:, 0]
        found[layer] = largest(pc.attribute(model, x, classes, "gradcam", layer).maps, wide)
    return found
