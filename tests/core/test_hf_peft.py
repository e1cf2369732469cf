"""Hugging Face PEFT as a method: every tuner obeys our laws, and none changes the shared backbone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from backbones import BOTH, images, nudge, small, state_bytes
from laws import CLASSES, attached, comes_back, follows_from_the_seed, logits, merges, trains_its_own_and_nothing_else
from low_rank_toys import FAMILIES

import peftcore as pc
from peftcore import adapters, errors
from peftcore.methods.hf_peft import tuners

# Tuners, each with what its own defaults ask too much of on a narrow backbone.
SEEN = {
    "lora": {},
    "dora": {},
    "adalora": {},
    "vera": {"r": 8},
    "oft": {"oft_block_size": 8},
    "boft": {},
    "ia3": {},
    "vblora": {"vector_length": 8, "num_vectors": 16},
    "shira": {"r": 2},
    "miss": {"r": 4},
    "loha": {},
    "fourierft": {"n_frequency": 50},
    "hra": {},
    "c3a": {"block_size": 8},
    "road": {"group_size": 8},
}


@pytest.fixture(scope="module")
def micro():
    return pc.load_backbone("vit_micro", pretrained=False)


@pytest.mark.parametrize("tuner", SEEN)
def test_each_tuner_trains_on_vit_micro(micro, tuner):
    """Once attached, a step moves the logits; state loads into a model with another seed; merged equals unmerged."""
    before = state_bytes(micro.module)
    method = pc.make_method("hf_peft", tuner=tuner, options=SEEN[tuner])
    model = nudge(pc.attach(micro, method, CLASSES), 0.02).train()
    start = logits(model)
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=1e-2)
    F.cross_entropy(model.train()(images(micro, 2)), torch.arange(2)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.trainable_parameters())
    assert any(p.grad.any() for p in model.tuner.parameters())
    model.head.requires_grad_(False)  # what moves the logits below is the tuner
    optimizer.step()
    head = pc.attach(micro, method, CLASSES, seed=0).head.state_dict()
    other = pc.attach(micro, method, CLASSES, seed=5)
    other.load_adapter_state(model.adapter_state())
    assert torch.equal(logits(other), logits(model))
    with torch.no_grad():
        assert torch.allclose(pc.merge(model)(images(micro)), logits(model), atol=1e-4)
    model.head.load_state_dict(head)
    assert not torch.equal(logits(model), start)
    assert state_bytes(micro.module) == before


@pytest.mark.parametrize("tuner", ["tinylora", "lily"])
def test_what_layers_share_is_what_trains(micro, tuner):
    """Under every name that a shared tensor has, it is the one that the optimizer holds."""
    model = pc.attach(micro, pc.make_method("hf_peft", tuner=tuner, options={}), CLASSES)
    own = {id(p) for p in model.trainable_parameters()}
    held = [(path, p) for path, module in model.trunk.named_modules() for p in module._parameters.values()]
    assert [path for path, p in held if p is not None and p.requires_grad and id(p) not in own] == []


@pytest.mark.parametrize("tuner", [*SEEN, "lokr", "unilora", "poly", "waveft"])
def test_its_memory_is_predicted_to_the_byte_or_not_at_all(micro, tuner):
    """Also for tuners that draw numbers, read frozen weights, or keep tensors that are neither weights nor buffers."""
    method = {"name": "hf_peft", "tuner": tuner, "options": SEEN.get(tuner, {})}
    spec = pc.RunSpec(backbone="vit_micro", method=method, batch_size=2, device="cpu")
    if tuner in ("poly", "waveft", "shira"):
        kind = errors.DoesNotFit if tuner == "poly" else errors.NotMeasurable
        with pytest.raises(kind, match="does not run|depends on the numbers"):
            pc.predict_memory(spec, num_classes=CLASSES)
        return
    model = pc.attach(micro, method, CLASSES)
    optimizer = torch.optim.AdamW(model.trainable_parameters(), fused=True)
    found = pc.measure_step(model, images(micro, 2), torch.arange(2), optimizer)
    predicted = pc.predict_memory(spec, num_classes=CLASSES)
    assert predicted.components == found.components and predicted.peak == found.peak


@pytest.mark.parametrize("tuner", SEEN)
def test_each_tuner_obeys_the_laws_on_swin(tuner):
    settings = dict(tuner=tuner, options=SEEN[tuner])
    model = trains_its_own_and_nothing_else("swin", "hf_peft", **settings)
    comes_back(model)
    follows_from_the_seed("swin", "hf_peft", **settings)


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("tuner", ["lora", "dora"])
def test_merges(family, tuner):
    merges(nudge(attached(family, "hf_peft", tuner=tuner), 0.1))


@pytest.mark.parametrize("family", BOTH)
def test_is_our_lora(family):
    """On proj and fc1 with the same weights: same outputs, gradients, and weights after ten AdamW steps."""
    ours = nudge(attached(family, "lora", projections=("proj", "fc1"), rank=4, alpha=6), 0.1).train()
    options = {"r": 4, "lora_alpha": 6, "target_modules": r".*(attn\.proj|mlp\.fc1)"}
    theirs = attached(family, "hf_peft", tuner="lora", options=options).train()
    state = ours.adapter_state()
    assert state.keys() == theirs.adapter_state().keys()
    theirs.load_adapter_state(state)
    optimizers = [torch.optim.AdamW(m.trainable_parameters(), lr=1e-2) for m in (ours, theirs)]
    batch, labels = images(small(family), 4), torch.arange(4)
    for step in range(10):
        out = [model(batch) for model in (ours, theirs)]
        for logit, optimizer in zip(out, optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(logit, labels).backward()
        if step == 0:
            assert torch.allclose(*out, atol=1e-6)
            gradients = [dict(m.named_trainable()) for m in (ours, theirs)]
            assert all(torch.allclose(p.grad, gradients[1][n].grad, atol=1e-6) for n, p in gradients[0].items())
        for optimizer in optimizers:
            optimizer.step()
    after = theirs.adapter_state()
    assert all(torch.allclose(t, after[name], atol=1e-4) for name, t in ours.adapter_state().items())
    assert not torch.allclose(after["head.weight"], state["head.weight"], atol=1e-3)


def test_is_our_lora_on_q_and_v_of_the_fused_projection():
    """q and v pairs of rank r are one pair of rank 2r on qkv: A stacked, B in blocks of rows and columns."""
    ours = nudge(attached("vit", "lora", rank=3, alpha=3), 0.2)
    theirs = attached("vit", "hf_peft", tuner="lora", options={"r": 6, "lora_alpha": 6})
    state, d = ours.adapter_state(), 32
    fused = {"head.weight": state["head.weight"], "head.bias": state["head.bias"]}
    for i in range(5):
        path = f"blocks.{i}.attn"
        B = torch.zeros(3 * d, 6)
        B[:d, :3], B[2 * d :, 3:] = (state[f"{path}.{p}.lora_B.weight"] for p in "qv")
        fused[f"{path}.qkv.lora_A.weight"] = torch.cat([state[f"{path}.{p}.lora_A.weight"] for p in "qv"])
        fused[f"{path}.qkv.lora_B.weight"] = B
    theirs.load_adapter_state(fused)
    assert torch.allclose(logits(ours), logits(theirs), atol=1e-6)


def test_frozen_weights_stay_shared():
    model = attached("vit", "hf_peft", tuner="vera", options={"r": 4})
    shared = {p.data_ptr() for p in small("vit").module.parameters()}
    assert shared <= {p.data_ptr() for p in model.trunk.parameters()}


def test_dropout_acts_in_training_only_and_the_backbone_stays_in_eval():
    model = nudge(attached("vit", "hf_peft", tuner="lora", options={"lora_dropout": 0.5}), 0.3)
    batch = images(model.backbone)
    with torch.no_grad():
        assert not torch.equal(model.train()(batch), model(batch))
        assert not model.trunk.blocks[0].training and not model.trunk.blocks[0].attn.qkv.base_layer.training
        assert torch.equal(model.eval()(batch), model(batch))


def test_a_tuner_that_rewrites_the_frozen_weights_is_refused_and_does_no_harm():
    before = state_bytes(small("vit").module)
    with pytest.raises(errors.DoesNotFit, match="rewrites the frozen weights"):
        attached("vit", "hf_peft", tuner="lora", options={"init_lora_weights": "pissa"})
    assert state_bytes(small("vit").module) == before


@pytest.mark.parametrize("family", ["eva02", "beit", "swinv2"])
def test_a_layer_that_is_never_called_is_refused(family):
    """These families read the weight of qkv past PEFT's wrapper; PEFT itself would silently train nothing."""
    name, architecture = FAMILIES[family]
    backbone = pc.load_backbone(name, pretrained=False, **architecture)
    with pytest.raises(errors.DoesNotFit, match="never calls"):
        pc.attach(backbone, pc.make_method("hf_peft"), 3)


def test_split_projections_are_found_where_there_is_no_qkv():
    name, architecture = FAMILIES["eva_split"]
    model = pc.attach(pc.load_backbone(name, pretrained=False, **architecture), pc.make_method("hf_peft"), 3)
    assert {n.split(".")[3] for n in model.tuner.state_dict()} == {"q_proj", "k_proj", "v_proj"}


def test_bad_names_are_sentences():
    with pytest.raises(errors.UnknownName, match="Did you mean 'adalora'"):
        pc.make_method("hf_peft", tuner="adalorra")
    with pytest.raises(errors.UnknownName, match="Did you mean 'lora_alpha'"):
        attached("vit", "hf_peft", options={"lora_alhpa": 3})
    with pytest.raises(errors.InvalidSetting, match="refuses its options"):
        attached("vit", "hf_peft", tuner="oft", options={"r": 3, "oft_block_size": 3})
    with pytest.raises(errors.DoesNotFit, match="nowhere"):
        attached("vit", "hf_peft", options={"target_modules": ["nowhere"]})
    for tuner in ("prompt_tuning", "prefix_tuning", "adaption_prompt"):
        with pytest.raises(errors.DoesNotFit, match="choose vpt"):
            attached("vit", "hf_peft", tuner=tuner)
    with pytest.raises(errors.DoesNotFit, match="does not run"):
        attached("vit", "hf_peft", tuner="poly")


def test_a_tuner_that_cannot_merge_says_so():
    with pytest.raises(errors.CannotMerge, match="lily"):
        pc.merge(attached("vit", "hf_peft", tuner="lily"))


def test_what_peft_merges_is_not_trusted(micro):
    """Its RandLoRA computes another model once it is merged."""
    model = nudge(pc.attach(micro, pc.make_method("hf_peft", tuner="randlora"), CLASSES), 0.2)
    with pytest.raises(errors.CannotMerge, match="would not compute what the model does"):
        pc.merge(model)


def test_peft_is_imported_when_it_is_attached_and_not_before():
    code = (
        "import sys; from peftcore.methods import make_method; m = make_method('hf_peft', tuner='VeRA'); "
        "assert m.tuner == 'vera' and 'peft' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(SEEN) <= set(tuners())


@pytest.mark.parametrize("family", BOTH)
def test_a_plain_copy_has_the_wrapped_layers_own_weights(family):
    backbone = small(family)
    model = pc.attach(backbone, pc.make_method("hf_peft", tuner="lora"), 3)
    copied, own = adapters.plain_copy(model).state_dict(), backbone.module.state_dict()
    assert all(torch.equal(copied[name], tensor) for name, tensor in own.items())
