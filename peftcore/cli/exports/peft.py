"""A Hugging Face PEFT adapter folder, classifier inside."""

from __future__ import annotations

from pathlib import Path

from peftcore.cli.exports._source import Source
from peftcore.registry import METHODS

TITLE = "Hugging Face PEFT adapter"
PURPOSE = (
    "For Hugging Face PEFT, classifier inside: "
    "`PeftModel.from_pretrained(timm.create_model(NAME, pretrained=True, num_classes=...), FOLDER)`, "
    "with `img_size=...` where the run has an image size."
)
MAKES = "folder"
LOADS = True


def why_not(source: Source) -> str | None:
    from peftcore.methods import Method

    if source.no_model or not source.method:
        return source.no_model
    method = METHODS.load(source.method).METHOD
    if method.as_lora is Method.as_lora and source.method != "hf_peft":
        return (
            f"{method.title} is not a low-rank update of linear layers, so Hugging Face PEFT has no adapter that "
            "computes the same. Take the adapter or the ONNX model."
        )
    return None


def write(source: Source, folder: Path) -> Path:
    from peftcore.fetch.peft_export import export_peft

    return export_peft(source.model, folder / f"{source.name}-peft")
