"""Headroom beside its oracles: the largest error of each, found by running every one.

    python scripts/oracles.py [FOLDER]        # writes docs/oracles.md; FOLDER: PETL-ViT's released Bi-LoRA files

Layer Grad-CAM is compared where pytorch-grad-cam is: `pip install --no-deps --target DIR grad-cam ttach
opencv-python-headless`, then PYTHONPATH=DIR before the command.

The oracles are in tests/core/against.py; the tests run them too. Backbones are small and have random weights, since the
comparisons hold for any weights: a ViT of 3 blocks and a Swin of two stages with shifted windows.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "core"))

import against
import torch

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "oracles.md"
RELEASED = ROOT.parent / "shared" / "data" / "petl-vit-bi-lora"
F64, F32 = torch.float64, torch.float32
FAMILIES = {"vit": "ViT", "swin": "Swin"}


@dataclass(frozen=True)
class Oracle:
    """`measure(family, dtype, *arguments)` gives errors by what was compared, each at most `within[dtype]`."""

    title: str
    measure: Callable[..., dict[str, float]]
    arguments: tuple = ()
    within: tuple[tuple[torch.dtype, float], ...] = ((F64, 1e-11), (F32, 1e-4))

    def errors(self, family: str) -> dict[str, dict[torch.dtype, float]]:
        """By what was compared and by dtype."""
        found: dict[str, dict[torch.dtype, float]] = {}
        for dtype, _ in self.within:
            for compared, error in self.measure(family, dtype, *self.arguments).items():
                found.setdefault(compared, {})[dtype] = error
        return found


def _oracles() -> Iterable[Oracle]:
    yield Oracle("LoRA: Hugging Face PEFT's LoRA", against.peft_lora)
    yield Oracle("DoRA of `hf_peft`: PEFT on the plain timm model", against.peft_dora)
    yield Oracle("DoRA of `hf_peft`: its equation by hand", against.dora_by_hand)
    for name in ("lora", "serial_lora", "bi_lora"):
        yield Oracle(f"`{name}` exported: loaded by PEFT as LoRA", against.exported, (name,))
    for name in against.MERGEABLE:
        yield Oracle(f"`{name}` merged: plain timm", against.merged, (name,))
    yield Oracle("LAST's lean backward: autograd", against.lean_backward)
    for base in ("lora", "bi_lora"):
        for scale in (1e-1, 1e-2, 1e-3):  # a first-order prediction: its error falls with the update
            within = ((F64, scale / 2),)
            title = f"Responsiveness on `{base}`: the loss with a head's update removed"
            yield Oracle(title, against.removal, (base, scale), within)


ORACLES = tuple(_oracles())


def table() -> list[str]:
    rows = []
    for oracle in ORACLES:
        for family, name in FAMILIES.items():
            for compared, errors in oracle.errors(family).items():
                within = dict(oracle.within)
                cells = [f"{_short(errors[t])} | {within[t]:.0e}" if t in errors else "– | –" for t in (F64, F32)]
                rows.append(f"| {oracle.title} | {name} | {compared} | {' | '.join(cells)} |")
    for bits in (1, 2, 4, 8):
        for compared, error in against.codes(bits).items():
            rows.append(f"| Bi-LoRA's quantiser, {bits} bit: torch's normal and NumPy | – | {compared} "
                        f"| {_short(error)} | 1e-11 | – | – |")  # fmt: skip
    return rows


def _short(error: float) -> str:
    return f"{error:.1e}" if error else "0"


def exact(released: Path) -> list[str]:
    rows = [f"| {what}, ViT-B/16 | {ours:,} | {theirs:,} |" for what, (ours, theirs) in against.counts().items()]
    files = sorted(released.glob("*.bin"))
    found = f"{against.written_again(files):,}" if files else "skipped: the files were not there"
    return [
        *rows,
        f"| PETL-ViT's released Bi-LoRA files ({len(files)}), read and written: bytes different | {found} | 0 |",
    ]


def grad_cam() -> list[str]:
    """A row for each embedded backbone: the largest error over its layers."""
    if find_spec("pytorch_grad_cam") is None:
        return ["| skipped: pytorch-grad-cam was not there | – | – | – | – |"]
    rows = []
    for name in against.GRAD_CAM_ON:
        found = [against.grad_cam(name, dtype) for dtype in (F64, F32)]
        worst = " | ".join(_short(max(errors.values())) for errors in found)
        layers = f"{min(found[0]) + 1} to {max(found[0]) + 1}"
        rows.append(f"| `{name}` | {layers} | {worst} | {against.GRAD_CAM_WITHIN:.0e} |")
    return rows


def page(released: Path) -> str:
    return "\n".join(
        [
            "# Oracles",
            "",
            "Made by `python scripts/oracles.py`: Headroom against code that shares none of its own, on small, random",
            "ViT and Swin backbones. An error is the largest difference, relative to the oracle's largest entry or,",
            "for trained weights, to the largest distance that the oracle's weights have moved. *Allowed* is what a",
            "test asserts. An error near 1e-16 in float64 or 1e-7 in float32 is rounding. The loss change from",
            "removing a head is predicted to first order, so its error falls with the size of the update.",
            "",
            "| ours: the oracle | on | compared | float64 | allowed | float32 | allowed |",
            "|---|---|---|---:|---:|---:|---:|",
            *table(),
            "",
            "## Exact",
            "",
            "| what | Headroom | expected |",
            "|---|---:|---:|",
            *exact(released),
            "",
            "Expected counts come from the papers and from the layout of the released files (PETL-ViT,",
            "github.com/JieShibo/PETL-ViT; without these files the row says *skipped*).",
            "",
            "## Layer Grad-CAM on tokens: pytorch-grad-cam",
            "",
            '`pc.attribute(..., by="gradcam")` on LoRA of random weights, two random images and two classes, against',
            "`GradCAM` of grad-cam 1.5.7 with a `reshape_transform`, before it takes negative values away and rescales",
            "the rest; both at the image's size. The error is the largest over the layers, relative as above; maps are",
            "float32 also where the model is float64. Of the last layer of `vit_micro` the classifier reads the class",
            "token alone, so it has no map.",
            "",
            "| on | layers | float64 | float32 | allowed |",
            "|---|---|---:|---:|---:|",
            *grad_cam(),
            "",
        ]
    )


def main() -> None:
    warnings.simplefilter("ignore")  # PEFT looks up a configuration on the hub
    torch.set_num_threads(1)  # so that sums have the same order each time
    text = page(Path(sys.argv[1]) if len(sys.argv) > 1 else RELEASED)
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
