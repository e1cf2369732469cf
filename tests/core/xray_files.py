"""An adapter's files as others write them, for tests of what reads them."""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file


def hf_adapter(folder, rank=4, width=128, layers=3, seed=3, only=None):
    """An adapter as PEFT saves it for transformers' ViT: separate query, key and value; in some layers alone."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for layer in range(layers) if only is None else only:
        for leaf in ("attention.attention.query", "attention.attention.value", "attention.output.dense",
                     "intermediate.dense", "output.dense"):  # fmt: skip
            path = f"base_model.model.vit.encoder.layer.{layer}.{leaf}"
            for AB, shape in (("A", (rank, width)), ("B", (width, rank))):
                tensors[f"{path}.lora_{AB}.weight"] = torch.randn(*shape, generator=generator)
    tensors["base_model.model.classifier.weight"] = torch.randn(10, width, generator=generator)
    save_file(tensors, folder / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "base_model_name_or_path": "google/vit-tiny"}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    return tensors
