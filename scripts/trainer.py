"""One pretraining: model, optimisers, schedule, curve, checkpoints, and the export to the assets."""

from __future__ import annotations

import argparse
import csv
import json
import math
import platform
from pathlib import Path

import torch
from drawing import PATCH, draw
from recipe import Reader, accuracies, losses, prepare, total
from torch import Tensor, nn

from peftcore.backbone import embedded  # peftcore makes timm importable everywhere

HELD_OUT = 900_000  # batches from here on are never trained on
AVERAGE_EVERY = 4  # steps between two updates of the averaged weights
RECIPE = ("optimizer", "lr", "muon_lr", "weight_decay", "batch_size", "easy_until", "hard_from")


def create(name: str) -> nn.Module:
    """The bare timm model of config.json with timm's own random start."""
    import timm

    embedded.register()
    return timm.create_model(name, pretrained=False)


def normalise(pictures: Tensor, config: dict) -> Tensor:
    mean, std = (torch.tensor(config[k], device=pictures.device).view(1, 3, 1, 1) for k in ("mean", "std"))
    return (pictures - mean) / std


class Trainer:
    """Model, reader, optimisers and position in the schedule: everything that a checkpoint holds."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
        )
        self.config = embedded.config(options.name)
        torch.manual_seed(options.seed)
        self.model = create(options.name)
        self.begun = self.rested = 0  # images seen before this schedule, and steps in which the reader alone learns
        if options.start:
            self.model.load_state_dict(embedded_weights(options.name))
            self.begun, self.rested = earlier(options.name)["images"], options.reader_steps
        else:
            self.model.init_weights("jax")
            prepare(self.model, options.seed)
        self.model.to(self.device)
        coarsest = self.model.feature_info[-1]["reduction"]
        self.reader = Reader(self.model.num_features, coarsest // PATCH).to(self.device)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for module in (self.model, self.reader):
            for key, value in module.named_parameters():
                hidden = value.ndim == 2 and key.startswith(("blocks.", "layers.")) and key.endswith(".weight")
                (matrices if hidden else rest).append(value)
        groups = [
            {"params": matrices, "weight_decay": options.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        if options.optimizer == "muon":
            muon = torch.optim.Muon(matrices, lr=options.muon_lr, weight_decay=options.weight_decay, ns_steps=5)
            self.optimizers = [muon, torch.optim.AdamW(groups[1:], lr=options.lr, betas=(0.9, 0.99))]
        else:
            self.optimizers = [torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.99))]
        self.base = [o.param_groups[0]["lr"] for o in self.optimizers]
        self.batch = self.begun // options.batch_size  # batches trained so far: no picture is drawn twice
        self.seconds = float(earlier(options.name)["seconds"]) if options.start else 0.0  # all sittings together
        self.rows: list[dict] = earlier_curve(options.name) if options.start else []
        self.tokens = torch.compile(self.model.forward_features) if options.compile else self.model.forward_features

    @property
    def images(self) -> int:
        return self.batch * self.options.batch_size

    def rate(self) -> float:
        """Linear warm-up over 3 % of the schedule's images, then a cosine to 1 % at the end."""
        share = (self.images - self.begun) / (self.options.images - self.begun)
        done = min(1.0, share)
        warm = max(1e-3, min(1.0, share / 0.03))
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def hardest(self) -> float:
        """The curriculum: at first only easy pictures, then harder and harder ones among them."""
        begin, end = self.options.easy_until, self.options.hard_from
        return min(1.0, max(0.0, (self.images - begin) / (end - begin)))

    def outputs(self, pictures: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            tokens = self.tokens(normalise(pictures, self.config))
        return self.reader(tokens.float())

    def step(self) -> tuple[float, dict[str, float]]:
        """One batch: the loss, and each part of it."""
        pictures, labels = draw(self.options.seed, self.batch, self.options.batch_size, self.hardest(), self.device)
        for optimizer, base in zip(self.optimizers, self.base, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = base * self.rate()
        parts = losses(*self.outputs(pictures), labels)
        loss = total(parts)
        loss.backward()
        if self.batch - self.begun // self.options.batch_size < self.rested:
            self.model.zero_grad(set_to_none=True)  # a new reader's gradients would spoil features that are there
        nn.utils.clip_grad_norm_(list(self.model.parameters()) + list(self.reader.parameters()), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.batch += 1
        if self.batch % AVERAGE_EVERY == 0:
            keep = min(0.992, 1 - 1 / (1 + self.batch / 16))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.values()), list(self.model.state_dict().values()), 1 - keep)
        if not math.isfinite(value := loss.item()):
            raise SystemExit(f"The loss became {value} at batch {self.batch}: lower --lr and start again.")
        return value, {k: v.item() for k, v in parts.items()}

    @torch.no_grad()
    def measure(self, loss: float) -> dict:
        """One row of the curve, on pictures that training never draws: easy ones and hard ones."""
        row = {
            "images": self.images,
            "seconds": round(self.seconds),
            "loss": round(loss, 4),
            "level": round(self.hardest(), 3),
        }
        for kind, hardest in (("easy", 0.0), ("hard", 1.0)):
            found: list[dict[str, float]] = []
            for k in range(256 // self.options.batch_size):
                pictures, labels = draw(self.options.seed, HELD_OUT + k, self.options.batch_size, hardest, self.device)
                found.append(accuracies(*self.outputs(pictures), labels))
            row |= {f"{kind}_{k}": round(sum(f[k] for f in found) / len(found), 4) for k in found[0]}
        self.rows.append(row)
        return row

    def save(self, path: Path) -> None:
        plain = {k: v for k, v in vars(self.options).items() if isinstance(v, (str, int, float, bool))}
        state = {
            "model": self.model.state_dict(), "reader": self.reader.state_dict(), "average": self.average,
            "optimizers": [o.state_dict() for o in self.optimizers], "batch": self.batch, "begun": self.begun,
            "seconds": self.seconds,
            "rows": self.rows, "options": plain,
        }  # fmt: skip
        partial = path.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        for fixed in ("name", "seed", "batch_size", "optimizer"):
            if state["options"][fixed] != getattr(self.options, fixed):
                raise SystemExit(
                    f"{path} was made with --{fixed.replace('_', '-')} {state['options'][fixed]}; "
                    f"use that, or another --folder."
                )
        self.model.load_state_dict(state["model"])
        self.reader.load_state_dict(state["reader"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.batch, self.seconds, self.rows = state["batch"], state["seconds"], state["rows"]
        self.begun = state.get("begun", 0)

    def export(self, folder: Path) -> None:
        """Averaged weights, curve and training facts, to the backbone's folder of the assets."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        weights = {k: v.contiguous().float().cpu() for k, v in self.average.items()}
        partial = folder / "model.part"
        save_file(weights, partial, metadata={"format": "pt"})
        partial.chmod(0o644)
        partial.replace(folder / "model.safetensors")  # a reader never sees half a file
        with open(folder / "curve.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.rows[-1]))
            writer.writeheader()
            writer.writerows(self.rows)
        options = self.options
        facts = {
            "images": self.images, "steps": self.batch, "seed": options.seed, "seconds": round(self.seconds),
            "machine": machine(self.device, torch.get_num_threads()),
            "torch": torch.__version__.split("+")[0],
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "finished": self.images >= options.images,
            "recipe": {k: getattr(options, k) for k in RECIPE}
            | {"horizon": options.images, "begun": self.begun},
            "held_out": self.rows[-1],
        }  # fmt: skip
        if self.begun:
            known = earlier(
                self.options.name
            )  # of the weights that this schedule began from, or of its own last export
            facts["before"] = known.get("before") or {key: known[key] for key in ("images", "recipe")}
        write_card(folder, {"training": facts})


def embedded_weights(name: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(embedded.folder(name) / "model.safetensors")


def earlier(name: str) -> dict:
    """The facts of the training that made today's weights, from their card."""
    return json.loads((embedded.folder(name) / "card.json").read_text())["training"]


def earlier_curve(name: str) -> list[dict]:
    with open(embedded.folder(name) / "curve.csv", newline="") as file:
        return list(csv.DictReader(file))


def machine(device: torch.device, threads: int) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {threads} threads, shared with other work"


def write_card(folder: Path, news: dict) -> None:
    """Merges `news` into card.json and writes card.md from it, so that the two never differ."""
    from card import render

    path = folder / "card.json"
    card = json.loads(path.read_text()) if path.exists() else {}
    card |= news
    path.write_text(json.dumps(card, indent=1) + "\n")
    (folder / "card.md").write_text(render(card, embedded.config(folder.name)))
