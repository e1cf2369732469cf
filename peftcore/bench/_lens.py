"""What the classifier would say after every layer, if the backbone ended there ("logit lens")."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from peftcore.model import TunedModel
from peftcore.probes.attention import evaluating


@torch.no_grad()
def layer_lens(model: TunedModel, images: Tensor, patches: bool = False) -> Tensor:
    """Logits (depth + 1, B, classes) from the tokens that enter the first block and that leave each block.

    They pass the backbone's own final norm, pooling and the trained classifier; on Swin first the patch merging between
    their stage and the last [ours]. Of a side method it is the frozen backbone that is read: the classifier on what its
    side network starts from. `patches`: of every token of the grid instead, (depth + 1, B, N, classes), N of the last
    block's grid.

    Raises:
        BadData: images that do not fit the backbone.
    """
    backbone, blocks = model.backbone, model.backbone.blocks
    backbone.check_images(images, exact=patches)
    points, logits = [f"{blocks[0].path}:in", *(f"{block.path}:out" for block in blocks)], []
    with evaluating(model):
        # A tuner's own hooks (prompts, adapters) run within, so these are the tuned model's tokens.
        for tokens, block in zip(backbone.taps(images, points), (blocks[0], *blocks), strict=True):
            for later in range(block.stage + 1, len(backbone.stages)):
                tokens = backbone.transition(later)(tokens)
            if patches:
                tokens = backbone.module.norm(tokens)
                tokens = tokens.flatten(1, 2) if tokens.ndim == 4 else tokens[:, -math.prod(backbone.grid) :]
                tokens = getattr(backbone.module, "fc_norm", torch.nn.Identity())(tokens)
            logits.append(model.head(tokens if patches else backbone.finish(tokens)))
        return torch.stack(logits)
