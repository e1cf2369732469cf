"""The backbone picker: curated first, any name by typing, what will be downloaded, and random weights on purpose."""

from __future__ import annotations

import time

import pytest
from safetensors.torch import save_file

from app import libraries, words
from peftcore import load_backbone
from peftcore.fetch.curated import CURATED
from peftcore.spec import RunSpec

SMALL = "vit_small_patch16_224.augreg_in21k"


@pytest.fixture(autouse=True, scope="module")
def loaded():
    libraries.load()


def told(page) -> str:
    return " ".join(part.value.replace("\\", "") for kind in (page.warning, page.caption) for part in kind)


def picker(page):
    return page.selectbox("launch_backbone")


def test_curated_backbones_come_first_with_their_size_and_place(at):
    labels = picker(at("launch")).options
    assert labels[:2] == ["✓ swin_micro, 2.16 M", "✓ vit_micro, 1.62 M"]
    for name, label in zip(CURATED, labels[2:], strict=False):
        assert label.startswith(f"↓ {CURATED[name].title}, ") and label.endswith(f": {name}")
    assert "beit_base_patch16_224" in labels


def test_an_embedded_swin_says_its_stages(at):
    assert "8 layers in 3 stages of 3, 6 and 12 heads, widths 48 to 192" in told(at("launch", backbone="swin_micro"))


def test_a_download_is_told_before_the_launch_and_no_more_once_it_is_here(at, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_WEIGHTS", str(tmp_path))
    page = at("launch", backbone=SMALL)
    said = told(page)
    # 21.7 M weights and a classifier of 21,843 classes, four bytes each
    assert f"About 120 MB will be downloaded** from https://huggingface.co/timm/{SMALL}" in said
    assert f"peftcore fetch {SMALL}" in said and not page.button("launch").disabled
    file = tmp_path / f"{SMALL}.safetensors"
    save_file(load_backbone(SMALL, pretrained=False).module.state_dict(), file)
    page = at("launch", backbone=SMALL)
    assert "downloaded" not in told(page) and "Its weights are here." in told(page)
    assert f"✓ ViT-S/16 AugReg, 21.7 M: {SMALL}" in picker(page).options
    file.write_bytes(file.read_bytes()[:-1])
    assert "will be downloaded" in told(at("launch", backbone=SMALL))


def test_any_name_stands_in_the_link(at, store):
    page = at("launch", method="linear")
    picker(page).set_value("deit_tiny_patch16_224").run()
    assert page.query_params["backbone"] == "deit_tiny_patch16_224"
    assert "timm/deit_tiny_patch16_224.fb_in1k" in told(page)
    typed = "deit_tiny_patch16_224.fb_in1k"  # no option by itself
    page = at("launch", method="linear", backbone=typed)
    assert typed in picker(page).options
    page.button("launch").click().run()
    assert RunSpec.from_dict(store.runs()[0].spec).backbone == typed


@pytest.mark.parametrize("typed", ["hf-hub:a b//c", "hf-hub:", "no_such_backbone"])
def test_a_name_that_is_none_is_said(at, typed):
    page = at("launch", backbone=typed)
    assert page.error or page.warning, "a sentence, and no exception"
    assert "Any name of timm" in told(page) or "not here yet" in told(page)


def test_embedded_weights_are_never_downloaded(at):
    assert "downloaded" not in told(at("launch"))


def test_random_weights_are_chosen_on_purpose_and_marked(at):
    page = at("launch", backbone=SMALL)
    assert page.toggle("pretrained").value and "Random weights" not in told(page)
    page.toggle("pretrained").set_value(False).run()
    assert "**Random weights**, chosen on purpose" in told(page) and "will be downloaded" not in told(page)


def test_titles_mark_random_weights():
    spec = {"backbone": "vit_micro", "method": {"name": "lora"}, "task": "digits", "pretrained": True}
    assert words.run_title(spec) == f"LoRA on digits, {spec['backbone']}"
    assert words.run_title(spec | {"pretrained": False}) == f"LoRA on digits, {spec['backbone']}, random weights"
    assert (
        words.run_title(spec | {"pretrained": False, "weights": "own.safetensors"})
        == f"LoRA on digits, {spec['backbone']}"
    )
    both = [spec | {"pretrained": value} for value in (False, True)]
    assert words.race_title(both[:1] * 2).endswith(", random weights")
    assert words.race_title(both).endswith("over pretrained")


@pytest.mark.parametrize("name", ["cait_xxs24_224", "vit_small_patch16_18x2_224", "naflexvit_base_patch16_gap"])
def test_what_is_not_understood_is_not_offered_and_typed_it_says_why(at, name):
    page = at("launch", backbone=name)
    assert name not in {
        option.rpartition(": ")[2] for option in picker(page).options[:-1]
    }  # the last is what was typed
    for _ in range(100):
        if page.error:
            break
        time.sleep(0.2)
        page.run()
    assert name in page.error[0].value.replace("\\", "") and page.button("launch").disabled
