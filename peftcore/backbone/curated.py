"""The backbones that the field uses most, as plain data: what they weigh, their licence, what they learnt from.

Names are timm's with their tag. `parameters` counts the backbone without a classifier, as Headroom loads it; licences
are those that timm states for the weights. Reading this file imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Curated:
    """A backbone with pretrained weights. `trained_on`: the images, then how."""

    name: str
    title: str
    parameters: int
    licence: str
    trained_on: str

    @property
    def bytes(self) -> int:
        """Of the weights, in fp32."""
        return 4 * self.parameters


_ALL = (
    # ViT-B/16 of LAST's, Bi-LoRA's and Heart-LoRA's tables, in its original weights
    Curated("vit_base_patch16_224.orig_in21k", "ViT-B/16", 85_798_656, "apache-2.0", "ImageNet-21k, labels"),
    Curated("vit_small_patch16_224.augreg_in21k", "ViT-S/16 AugReg", 21_665_664, "apache-2.0", "ImageNet-21k, labels"),
    Curated("vit_base_patch16_224.augreg_in21k", "ViT-B/16 AugReg", 85_798_656, "apache-2.0", "ImageNet-21k, labels"),
    Curated("vit_large_patch16_224.augreg_in21k", "ViT-L/16 AugReg", 303_301_632, "apache-2.0", "ImageNet-21k, labels"),
    Curated("deit3_base_patch16_224.fb_in22k_ft_in1k", "DeiT3-B/16", 85_816_320, "apache-2.0",
            "ImageNet-22k, then ImageNet-1k, labels"),
    Curated("vit_small_patch14_dinov2.lvd142m", "DINOv2-S/14", 22_056_192, "apache-2.0", "LVD-142M, no labels"),
    Curated("vit_small_patch14_reg4_dinov2.lvd142m", "DINOv2-S/14 reg4", 22_057_344, "apache-2.0",
            "LVD-142M, no labels"),
    Curated("vit_base_patch14_dinov2.lvd142m", "DINOv2-B/14", 86_579_712, "apache-2.0", "LVD-142M, no labels"),
    Curated("vit_base_patch14_reg4_dinov2.lvd142m", "DINOv2-B/14 reg4", 86_582_016, "apache-2.0",
            "LVD-142M, no labels"),
    Curated("vit_base_patch16_clip_224.openai", "CLIP-B/16", 85_799_424, "apache-2.0",
            "400 M pairs of image and text (WIT)"),
    Curated("vit_base_patch16_224.mae", "MAE-B/16", 85_798_656, "cc-by-nc-4.0", "ImageNet-1k, hidden patches"),
    Curated("eva02_base_patch14_224.mim_in22k", "EVA-02-B/14", 85_758_720, "mit", "ImageNet-22k, hidden patches"),
    Curated("swin_base_patch4_window7_224.ms_in22k", "Swin-B", 86_743_224, "mit", "ImageNet-22k, labels"),
    Curated("vit_giant_patch14_clip_224.laion2b", "CLIP-g/14", 1_011_203_840, "apache-2.0",
            "LAION-2B, pairs of image and text"),
    Curated("vit_giant_patch14_dinov2.lvd142m", "DINOv2-g/14", 1_136_479_232, "apache-2.0", "LVD-142M, no labels"),
)  # fmt: skip
CURATED: dict[str, Curated] = {entry.name: entry for entry in _ALL}
