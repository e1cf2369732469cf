"""A finer look: the same trained model on images of more pixels, so that an image has more and smaller patches."""

from __future__ import annotations

from dataclasses import replace

from peftcore import errors
from peftcore.backbone.anatomy import anatomy
from peftcore.backbone.load import Backbone
from peftcore.model import TunedModel, attach


def finer_backbone(backbone: Backbone, times: int = 2) -> Backbone:
    """The same weights for images of `times` as many pixels on each side, by timm's own `set_input_size`: positions are
    resampled as timm does it for another image size, windows keep their size. `backbone` stays as it is.

    Raises:
        NotMeasurable: an architecture whose image size timm cannot change.
    """
    own = backbone.clone()
    size = (times * backbone.input_size[1], times * backbone.input_size[2])
    windows = {"window_size": tuple(own.module.layers[0].blocks[0].window_size)} if backbone.hierarchical else {}
    try:
        own.module.set_input_size(img_size=size, **windows)
    except (AttributeError, AssertionError, TypeError, RuntimeError) as error:
        raise errors.NotMeasurable(
            f"{backbone.name} reads images of {backbone.input_size[1]} x {backbone.input_size[2]} pixels only: timm "
            f"cannot resample its positions ({error or type(error).__name__})."
        ) from error
    own.module.requires_grad_(False)
    blocks = anatomy(own.module, backbone.name)
    return replace(own, blocks=blocks, input_size=(backbone.input_size[0], *size))


def finer(model: TunedModel, backbone: Backbone, times: int = 2) -> TunedModel:
    """The trained model on `finer_backbone(backbone)`, where `backbone` is the one that it was attached to.

    Raises:
        NotMeasurable: as `finer_backbone`.
        AdapterMismatch: what was trained has a size of its own for each position.
    """
    finer = attach(finer_backbone(backbone, times), model.method, model.head.out_features, verify=False)
    finer.load_adapter_state(model.adapter_state())
    return finer.eval()
