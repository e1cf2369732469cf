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
    backbone = model.backbone
    with evaluating(model):
        paths = [block.path for block in backbone.blocks]
        # A tuner's own hooks (prompts, adapters) run within, so these are the tuned model's tokens.
        states = backbone.taps(images, [f"{paths[0]}:in", *(f"{path}:out" for path in paths)])
        stages = [0, *(block.stage for block in backbone.blocks)]
        logits = []
        for tokens, stage in zip(states, stages, strict=True):
            for later in range(stage + 1, len(backbone.stages)):
                tokens = backbone.transition(later)(tokens)
            if patches:
                tokens = backbone.module.norm(tokens)
                tokens = tokens.flatten(1, 2) if tokens.ndim == 4 else tokens[:, -math.prod(backbone.grid) :]
                logits.append(model.head(getattr(backbone.module, "fc_norm", torch.nn.Identity())(tokens)))
            else:
                logits.append(model.head(backbone.finish(tokens)))
        return torch.stack(logits)
