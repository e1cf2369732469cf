"""Architectures: those taken are understood, and the others are refused with a reason."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from backbones import BOTH, images, nudge, small
from torch import Tensor, nn

import peftcore as pc
from peftcore import errors
from peftcore.backbone import embedded
from peftcore.backbone.preprocess import augmented, normalisation, prepare
from peftcore.backbone.understood import check_understood
from peftcore.fetch.curated import CURATED

TINY = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2}
TAKEN = {
    "vit_tiny_patch16_224": TINY,
    "vit_base_patch16_gap_224": TINY,  # no class token, the mean of all
    "vit_base_patch16_siglip_224": TINY,  # pooled by attention
    "vit_base_patch16_clip_224": TINY,  # a norm before the blocks
    "vit_small_patch14_reg4_dinov2": TINY | {"img_size": 28},  # registers, layer scale
    "deit_tiny_distilled_patch16_224": TINY,  # two tokens
    "deit3_small_patch16_224": TINY,
    "beit_base_patch16_224": TINY,  # relative positions
    "eva02_tiny_patch14_224": TINY | {"img_size": 28},  # rotary positions, q, k and v apart
    "vit_relpos_small_patch16_224": TINY,
    "vit_srelpos_small_patch16_224": TINY,
    "swin_tiny_patch4_window7_224": {"img_size": 64, "embed_dim": 16, "depths": (1, 2), "num_heads": (1, 2)},
    "swinv2_tiny_window8_256": {"img_size": 64, "embed_dim": 16, "depths": (1, 2), "num_heads": (1, 2)},
    "swin_s3_tiny_224": {},
}
REFUSED = (
    *("cait_xxs24_224", "xcit_nano_12_p16_224", "naflexvit_base_patch16_gap", "hiera_tiny_224", "samvit_base_patch16"),
    *(
        "sam2_hiera_tiny",
        "vit_small_patch16_18x2_224",
        "crossvit_tiny_240",
        "tnt_s_patch16_224",
    ),
    *("volo_d1_224", "mvitv2_tiny", "pvt_v2_b0", "maxvit_tiny_rw_224", "levit_128s", "twins_svt_small", "nest_tiny"),
    *("coat_tiny", "davit_tiny", "convit_tiny", "pit_ti_224", "visformer_tiny", "tiny_vit_5m_224", "gcvit_tiny"),
    *("mixer_s32_224", "resnet18", "convnext_atto", "efficientnet_b0", "focalnet_tiny_srf"),
)


@pytest.mark.parametrize("name", TAKEN)
def test_accepted_architectures_pool_their_last_tokens_and_their_rows_sum_to_one(name):
    backbone = pc.load_backbone(name, pretrained=False, **TAKEN[name])
    x, last = images(backbone), f"{backbone.blocks[-1].path}:out"
    tokens, pooled = backbone.taps(x, (last, "pooled"))
    torch.testing.assert_close(backbone.finish(tokens), pooled)
    assert pooled.shape == (2, backbone.width)
    maps = pc.attention_maps(backbone, x, -1)
    torch.testing.assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]))
    model = pc.attach(backbone, "linear", 3).eval()
    torch.testing.assert_close(model(x), model.head(pooled))


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_gives_the_reason_before_any_weights_exist(name):
    with pytest.raises(errors.DoesNotFit, match=f"^{name}") as raised:
        pc.load_backbone(name, pretrained=False, device="meta")
    assert str(raised.value).endswith(".") and len(str(raised.value)) < 400


def test_architectures_on_offer_are_those_that_the_sweep_accepted():
    """docs/architectures.md is made by scripts/architectures.py; another version of timm needs it made again."""
    page = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text()
    assert f"of timm {timm.__version__} are taken" in page, "run python scripts/architectures.py"
    taken, tried = set(), set()
    for _, names, verdict in (row.split(" | ") for row in page.splitlines() if row.endswith("|") and "`" in row):
        tried |= set(re.findall(r"`(\w+)`", names))
        taken |= set(re.findall(r"`(\w+)`", names)) if verdict.startswith("**yes**") else set()
    assert tried == set(timm.list_models()) - set(embedded.names())
    own = {*embedded.names(), *CURATED}
    assert set(pc.backbones()) - own == {name for name in taken if not name.startswith("test_")}
    assert {name.partition(".")[0] for name in CURATED} <= taken


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(
    "settings, why",
    [
        ({"global_pool": ""}, r"pools an image into \(5, 32\), not into 32 features"),
        ({"depth": 0}, "no attention blocks"),
        ({"use_naflex": True}, "no fixed grid"),
        ({"in_chans": 0}, "does not run on one image"),
    ],
)
def test_settings_that_make_something_else_are_refused(settings, why, device):
    with pytest.raises(errors.DoesNotFit, match=why):
        pc.load_backbone("vit_tiny_patch16_224", pretrained=False, device=device, **TINY | settings)


class _Altered(nn.Module):
    """A ViT whose forward differs in one place."""

    def __init__(self, module: nn.Module, **parts):
        super().__init__()
        self.__dict__.update(parts)
        self.inner = module

    def __getattr__(self, name: str):
        return super().__getattr__(name) if name == "inner" else getattr(self.inner, name)

    def get_submodule(self, path: str) -> nn.Module:
        return self.inner.get_submodule(path)

    def forward_head(self, tokens: Tensor, pre_logits: bool = True) -> Tensor:
        return self.inner.forward_head(tokens, pre_logits=pre_logits)


def _twice(features):
    return lambda x: features(x) * 2


def _another_order(module):
    def features(x):
        tokens = module._pos_embed(module.patch_embed(x))
        for block in reversed(module.blocks):
            tokens = block(tokens)
        return module.norm(tokens)

    return features


def _one_left_out(module):
    def features(x):
        return module.norm(module.blocks[1:](module._pos_embed(module.patch_embed(x))))

    return features


def _fewer_tokens(module):
    def features(x):
        tokens = module.blocks[:2](module._pos_embed(module.patch_embed(x)))
        return module.norm(module.blocks[2:](tokens[:, ::2]))

    return features


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda m: _twice(m.forward_features), "pools something other"),
        (_another_order, "once each, in order"),
        (_one_left_out, "once each, in order"),
        (_fewer_tokens, r"blocks\.2 works on tokens of shape \(13, 32\)"),
        (lambda m: lambda x: m.head_drop(m.forward_features(x)), r"more after its last block .*\(inner\.head_drop\)"),
        (lambda m: lambda x: m.forward_features(x[:, :2]), "does not run on one image"),
    ],
)
def test_a_forward_that_the_anatomy_does_not_tell_is_refused(change, why):
    backbone = small("vit")
    altered = _Altered(backbone.module, forward_features=change(backbone.module))
    with pytest.raises(errors.DoesNotFit, match=why):
        check_understood(replace(backbone, module=altered))
    check_understood(
        replace(backbone, module=_Altered(backbone.module, forward_features=backbone.module.forward_features))
    )
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.module.modules())


# ------------------------------------------------------------------------------------------------------ distilled, grey


def test_a_distilled_deit_is_merged_into_both_of_its_classifiers(tmp_path):
    backbone = pc.load_backbone("deit_tiny_distilled_patch16_224", pretrained=False, **TINY)
    model, x = nudge(pc.attach(backbone, "lora", 3)).eval(), images(backbone)
    merged = pc.merge(model)
    torch.testing.assert_close(merged(x), model(x), rtol=1e-4, atol=1e-5)
    assert torch.equal(merged.head.weight, merged.head_dist.weight)
    from peft import PeftModel
    from timm import create_model

    plain = create_model(backbone.name, num_classes=3, **TINY).eval()
    plain.load_state_dict(backbone.module.state_dict(), strict=False)
    exported = pc.export_peft(model, tmp_path)
    torch.testing.assert_close(PeftModel.from_pretrained(plain, exported).eval()(x), model(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pc.load_adapter(exported, backbone)(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module", params=BOTH)
def grey(request):
    settings = dict(small(request.param).options)
    return pc.load_backbone(small(request.param).name, pretrained=False, in_chans=1, **settings)


def test_a_backbone_of_one_channel_takes_grey_images(grey):
    height, width = grey.input_size[1:]
    assert grey.input_size[0] == len(grey.mean) == len(grey.std) == 1
    assert grey.pooled(images(grey)).shape == (2, grey.width)
    with pytest.raises(errors.BadData, match=rf"\(batch, 1, {height}, {width}\)"):
        grey.pooled(torch.zeros(1, 3, height, width))
    model = pc.attach(grey, "lora", 3)
    assert model(images(grey)).shape == (2, 3)


@pytest.mark.parametrize("norm", ["backbone", "imagenet", "half", "none"])
def test_pictures_become_their_luma(grey, norm):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (3, *grey.input_size[1:], 3), dtype=np.uint8)
    expected = torch.tensor(np.stack([np.asarray(Image.fromarray(one).convert("L")) for one in pixels])).float() / 255
    [mean], [std] = normalisation(grey, norm)
    found = prepare(pixels, grey, norm)
    assert found.shape == (3, *grey.input_size)
    torch.testing.assert_close(found[:, 0], (expected - mean) / std, rtol=0, atol=0.01)  # Pillow rounds
    for how in ("light", "randaugment"):
        drawn = augmented(pixels, grey, norm, "cpu", "stretch", how, torch.Generator().manual_seed(0))
        assert drawn.shape == (3, *grey.input_size) and drawn.isfinite().all()


def test_pictures_have_no_four_channels():
    four = pc.load_backbone("vit_tiny_patch16_224", pretrained=False, in_chans=4, **TINY)
    assert four.input_size[0] == len(four.mean) == 4 and four.pooled(images(four)).shape == (2, 32)
    with pytest.raises(errors.BadData, match="4 channels"):
        prepare(np.zeros((1, 32, 32, 3), np.uint8), four)
