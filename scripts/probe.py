"""Linear probes of an embedded backbone beside its random-init twin, on the embedded tasks."""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import torch
from torch import nn
from trainer import create, normalise, write_card

from peftcore.backbone import embedded
from peftcore.task import load_task

STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # inverse L2 penalties; the validation split chooses


@torch.no_grad()
def pooled(model: nn.Module, images: np.ndarray, config: dict) -> np.ndarray:
    """Pooled features (n, width) of uint8 images (n, H, W, 3), resized as the app does."""
    size = config["input_size"][-1]
    found = []
    for start in range(0, len(images), 100):
        batch = torch.tensor(images[start : start + 100]).permute(0, 3, 1, 2).float() / 255  # (b, 3, H, W)
        if batch.shape[-1] != size:
            batch = nn.functional.interpolate(batch, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
        found.append(model(normalise(batch, config)))
    return torch.cat(found).numpy()


def fit(features: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> float:
    """Test accuracy of a logistic regression on standardised features; the val split chooses its penalty."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features["train"])
    features = {k: scaler.transform(v) for k, v in features.items()}
    with warnings.catch_warnings():
        # The weakest penalty may stop early; it is only a candidate.
        warnings.simplefilter("ignore", ConvergenceWarning)
        candidates = [
            LogisticRegression(C=strength, max_iter=400).fit(features["train"], labels["train"])
            for strength in STRENGTHS
        ]
    chosen = max(candidates, key=lambda probe: probe.score(features["val"], labels["val"]))
    return float(chosen.score(features["test"], labels["test"]))


def compare(options: argparse.Namespace) -> dict:
    """Print (and write to the card) the accuracies of the backbone and of three random twins."""
    torch.set_num_threads(options.threads)
    config = embedded.config(options.name)
    models: dict[str, list[nn.Module]] = {"pretrained": [create(options.name)], "twin": []}
    if options.weights:
        state = torch.load(options.weights, map_location="cpu", weights_only=True)["average"]
    else:
        from safetensors.torch import load_file

        state = load_file(embedded.weights(options.name))
    models["pretrained"][0].load_state_dict(state)
    for seed in range(3):
        torch.manual_seed(seed)
        models["twin"].append(create(options.name))
    probes = {}
    print(f"{'task':14s} {'pretrained':>10s} {'random twin':>11s} {'chance':>7s}")
    for name in options.tasks:
        task = load_task(name)
        splits = {k: getattr(task, k) for k in ("train", "val", "test")}
        labels = {k: v.labels for k, v in splits.items()}
        scores = {
            kind: [fit({k: pooled(m.eval(), v.images, config) for k, v in splits.items()}, labels) for m in group]
            for kind, group in models.items()
        }
        probes[name] = {
            "accuracy": round(scores["pretrained"][0], 4),
            "twin": round(float(np.mean(scores["twin"])), 4),
            "chance": round(float(np.bincount(labels["test"]).max() / len(labels["test"])), 4),
        }
        row = probes[name]
        print(f"{name:14s} {row['accuracy']:10.3f} {row['twin']:11.3f} {row['chance']:7.3f}", flush=True)
    if options.write and not options.weights:
        write_card(embedded.folder(options.name), {"probes": probes})
    return probes
