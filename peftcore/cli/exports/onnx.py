"""An ONNX model: pixels to logits without PyTorch."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftcore import errors
from peftcore.cli.exports._source import Source

if TYPE_CHECKING:
    from peftcore.model import TunedModel

TITLE = "ONNX model"
PURPOSE = (
    "For programs without PyTorch (onnxruntime, browsers, phones): normalised images (batch, channels, height, width) "
    "to logits, any batch size; its metadata hold classes, mean and std."
)
MAKES = "file"
LOADS = True
OPSET = 17  # the first with LayerNormalization
NEEDS = ("onnx", "onnxruntime")
TOLERANCE = 1e-3  # of a logit, between PyTorch and onnxruntime; of the largest logit where that is above 1


def why_not(source: Source) -> str | None:
    if missing := [name for name in NEEDS if find_spec(name) is None]:
        return f"Not installed: {', '.join(missing)}. Install with: pip install {' '.join(NEEDS)}"
    return source.no_model


def write(source: Source, folder: Path) -> Path:
    """Merged where the method can be, else the whole network; checked by onnxruntime on batches of 1 and 3.

    Raises:
        CannotExport: the network has an operation that ONNX lacks, or what was written computes something else.
    """
    import onnx
    import torch

    model, path = source.model, folder / f"{source.name}.onnx"
    try:
        with _silence(), torch.no_grad():
            # By tracing: a tenth of the time of torch.export, which moreover refuses LAST's attention.
            torch.onnx.export(
                network(model), (torch.zeros(2, *model.backbone.input_size),), str(path), dynamo=False,
                opset_version=OPSET, input_names=["images"], output_names=["logits"],
                dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
            )  # fmt: skip
            off = difference(model, path)
        failed = f"onnxruntime's logits differ by {off:.2g}" if off > TOLERANCE else ""
    except Exception as error:  # each part of the exporter and of onnxruntime has classes of its own
        off, failed = 0.0, (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if failed:
        raise errors.CannotExport(
            f"{model.method.title} on {model.backbone.name} cannot be written as ONNX: {failed}. Take the adapter."
        )
    proto = onnx.load(path)
    onnx.helper.set_model_props(proto, {name: json.dumps(value) for name, value in _about(source, model).items()})
    onnx.save(proto, path)
    return path


def difference(model: TunedModel, path: Path) -> float:
    """The largest difference between onnxruntime's logits and the model's own, on batches of 1 and 3 random images;
    relative where logits are above 1."""
    import onnxruntime
    import torch

    onnxruntime.set_default_logger_severity(4)  # what fails here is reported by us
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    off = 0.0
    for batch in (1, 3):
        images = torch.randn(batch, *model.backbone.input_size, generator=torch.Generator().manual_seed(batch))
        own, theirs = model(images), torch.tensor(session.run(None, {"images": images.numpy()})[0])
        off = max(off, float((own - theirs).abs().max() / own.abs().max().clamp(min=1)))
    return off


@contextmanager
def _silence() -> Iterator[None]:
    """Exporters log and warn about shapes that tracing fixes, and about their own future."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def network(model: TunedModel) -> Any:
    """A module from images to logits that can be traced."""
    from torch import Tensor, nn

    from peftcore.adapters import merge

    class Side(nn.Module):
        """A side method's model with its network as it is written: the lean one is an autograd function of its own."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            features = model.backbone.taps(images, model.tuner.taps, chunk=2**31 - 1)
            return model.from_features(tuple(z.detach().requires_grad_() for z in features))

    try:
        return merge(model).eval()
    except errors.CannotMerge:
        return Side().eval() if model.is_side else model.eval()


def _about(source: Source, model: TunedModel) -> dict[str, Any]:
    from peftcore.backbone.preprocess import normalisation

    settings = source.settings or {}
    mean, std = normalisation(model.backbone, settings.get("normalisation", "backbone"))
    size = list(model.backbone.input_size)
    return {"classes": source.classes, "mean": mean, "std": std, "input_size": size, "spec": source.settings}
