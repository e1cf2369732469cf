"""Backbones: anatomy, taps, one copy of the weights, and clear errors."""

from __future__ import annotations

import pytest
import torch
from backbones import BOTH, images, small, state_bytes
from safetensors.torch import save_file

import peftcore as pc
from peftcore import errors


def test_anatomy_of_vit_and_swin():
    vit, swin = small("vit"), small("swin")
    assert (vit.depth, vit.width, vit.grid, vit.prefix_tokens) == (5, 32, (4, 6), 1)
    assert set(vit.heads) == {4} and vit.blocks[0].head_dim == 8 and vit.stages == ((0, 1, 2, 3, 4),)
    assert (swin.depth, swin.width, swin.heads, swin.stages) == (3, 32, (2, 2, 4), ((0, 1), (2,)))
    assert [b.grid for b in swin.blocks] == [(8, 8), (8, 8), (4, 4)]


@pytest.mark.parametrize("family", BOTH)
def test_frozen_eval_and_the_same_for_the_same_seed(family):
    backbone = small(family)
    assert not backbone.module.training and not any(p.requires_grad for p in backbone.module.parameters())
    settings = dict(backbone.options)
    again = pc.load_backbone(backbone.name, pretrained=False, **settings)
    assert again.fingerprint == backbone.fingerprint
    assert pc.load_backbone(backbone.name, pretrained=False, seed=1, **settings).fingerprint != backbone.fingerprint


@pytest.mark.parametrize("family", BOTH)
def test_taps_are_what_flows_and_nothing_behind_them_runs(family):
    backbone, x = small(family), images(small(family))
    last = f"{backbone.blocks[-1].path}:out"
    tokens, pooled = backbone.taps(x, (last, "pooled"))
    assert torch.equal(backbone.finish(tokens), pooled) and torch.equal(pooled, backbone.pooled(x))
    ran = []
    handle = backbone.module.get_submodule(backbone.blocks[-1].path).register_forward_hook(lambda *_: ran.append(1))
    backbone.taps(x, (f"{backbone.blocks[0].path}:in", f"{backbone.blocks[0].path}:out"))
    handle.remove()
    assert not ran


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("method", pc.methods())
def test_attach_leaves_the_backbone_and_shares_its_weights(family, method):
    backbone = small(family)
    before, keys = state_bytes(backbone.module), list(backbone.module.state_dict())
    try:
        model = pc.attach(backbone, pc.make_method(method), 3)
    except errors.DoesNotFit:
        return  # said in a sentence; which combinations fit is another test's matter
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=0.1)
    model(images(backbone)).square().sum().backward()
    optimizer.step()
    assert state_bytes(backbone.module) == before and list(backbone.module.state_dict()) == keys
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.module.modules())
    if method not in ("full", "bitfit"):
        own = {p.data_ptr() for p in backbone.module.parameters()}
        assert own <= {p.data_ptr() for p in model.parameters()}


def test_unknown_and_unfit_architectures():
    with pytest.raises(errors.UnknownName, match="vit_base_patch16"):
        pc.load_backbone("vit_base_patch16_242", pretrained=False)
    with pytest.raises(errors.DoesNotFit, match="resnet18"):
        pc.load_backbone("resnet18", pretrained=False)
    with pytest.raises(errors.UnknownName, match="There are: swin_micro, vit_micro, vit_base_patch16_224.orig_in21k"):
        pc.load_backbone("nothing_like_it")


def test_without_weights_or_network_the_error_says_what_to_do():
    with pytest.raises(errors.WeightsUnavailable, match="pretrained=False"):
        pc.load_backbone("vit_tiny_patch16_224.augreg_in21k")


def test_weights_from_a_local_file_and_folder(tmp_path):
    backbone = small("vit")
    file = tmp_path / "weights.safetensors"
    save_file(backbone.module.state_dict(), file)
    for source in (file, tmp_path):
        loaded = pc.load_backbone(backbone.name, weights=source, seed=9, **dict(backbone.options))
        assert loaded.fingerprint == backbone.fingerprint and loaded.pretrained
    other = "vit_base_patch16_224" if "base" not in backbone.name else "vit_tiny_patch16_224"
    with pytest.raises(
        errors.WeightsUnavailable, match=r"84 of the backbone's 150 tensors are missing \(blocks\.5\.norm1\.weight"
    ):
        pc.load_backbone(other, weights=file)  # what is wrong is said, not only that something is
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(errors.WeightsUnavailable, match="does not hold weights .*; fetch or copy it again"):
        pc.load_backbone(backbone.name, weights=file, **dict(backbone.options))
    (tmp_path / "words.pth").write_text("no weights at all")
    with pytest.raises(errors.WeightsUnavailable, match="words.pth"):
        pc.load_backbone(backbone.name, weights=tmp_path / "words.pth", **dict(backbone.options))
    with pytest.raises(errors.InvalidSetting, match="no device"):
        pc.load_backbone(backbone.name, pretrained=False, device="gpu")
    with pytest.raises(errors.WeightsUnavailable, match="no file or folder"):
        pc.load_backbone(backbone.name, weights=tmp_path / "nothing")


class _Bomb:
    def __reduce__(self):
        return (open, ("bomb-went-off", "w"))


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Bomb()}, tmp_path / "evil.pth")
    with pytest.raises(errors.WeightsUnavailable, match="evil.pth"):
        pc.load_backbone("vit_tiny_patch16_224", weights=tmp_path / "evil.pth")
    assert not (tmp_path / "bomb-went-off").exists()


def test_a_projection_that_no_linear_computes():
    with pytest.raises(errors.DoesNotFit, match="fc1"):
        backbone = pc.load_backbone("eva02_base_patch14_224", pretrained=False, device="meta")
        backbone.site(backbone.blocks[0], "fc1")


@pytest.mark.parametrize("family", BOTH)
def test_taps_in_chunks_are_the_same_tokens(family):
    backbone, x = small(family), images(small(family), 5)
    points = (f"{backbone.blocks[0].path}:in", f"{backbone.blocks[1].path}:out", "pooled", "image")
    for whole, parts in zip(backbone.taps(x, points), backbone.taps(x, points, chunk=2), strict=True):
        torch.testing.assert_close(whole, parts)


def test_a_family_without_an_anatomy_says_so_whatever_its_image_size():
    with pytest.raises(errors.DoesNotFit):
        pc.load_backbone("hiera_tiny_224", pretrained=False, img_size=64)
