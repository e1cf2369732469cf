"""Pretrain an embedded backbone on pictures that Headroom draws itself.

    python scripts/pretrain.py train vit_micro --images 200000   # starts, or resumes from build/pretrain
    python scripts/pretrain.py train vit_micro --images 600000 --start --no-export   # anew, from today's weights
    python scripts/pretrain.py probe vit_micro                   # linear probes beside the random-init twin
    python scripts/pretrain.py look 1.0                          # a sheet of drawn pictures, to look at

Architecture and preprocessing come from assets/backbones/<name>/config.json; the weights, the curve and the
card are written beside it. A stopped run goes on where it was, bit for bit on the same machine and threads.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from drawing import draw  # noqa: E402
from trainer import HELD_OUT, Trainer  # noqa: E402

from peftcore.backbone import embedded  # noqa: E402
from peftcore.task import embedded_tasks  # noqa: E402


def train(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    folder = Path(options.folder) / options.name
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(options)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        trainer.load(checkpoint)
        print(f"resumed at {trainer.images} images", flush=True)
    asked: list[int] = []  # Ctrl-C and a polite kill end the sitting after the step, with a checkpoint
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _frame: asked.append(caught))
    began = kept = last = time.monotonic()
    smooth, spent = 0.0, trainer.seconds
    while trainer.images < options.images:
        loss, parts = trainer.step()
        trainer.seconds = spent + time.monotonic() - began
        smooth = loss if smooth == 0.0 else 0.98 * smooth + 0.02 * loss
        now = time.monotonic()
        if trainer.batch % max(1, options.measure_every // options.batch_size) == 0:
            row = trainer.measure(smooth)
            speed = options.measure_every / (now - last)
            last = time.monotonic()
            line = " ".join(f"{k}={v:.3g}" for k, v in row.items())
            print(f"{line} images/s={speed:.0f} lr={trainer.rate() * options.lr:.2e}", flush=True)
            print("   " + " ".join(f"{k}={v:.3g}" for k, v in parts.items()), flush=True)
        if now - kept > options.checkpoint_minutes * 60:
            trainer.save(checkpoint)
            if options.export and trainer.rows:
                trainer.export(embedded.folder(options.name))
            kept = now
        if asked or (options.minutes and now - began > options.minutes * 60):
            print(f"stopped at {trainer.images} images; the same command goes on from here", flush=True)
            break
    if not trainer.rows or trainer.rows[-1]["images"] != trainer.images:
        trainer.measure(smooth)
    trainer.save(checkpoint)
    if options.export:
        trainer.export(embedded.folder(options.name))


def look(options: argparse.Namespace) -> None:
    """A sheet of 8 x 16 pictures, as PNG."""
    from PIL import Image

    pictures, _ = draw(options.seed, HELD_OUT, 128, options.level)
    sheet = pictures.permute(0, 2, 3, 1).reshape(8, 16, 64, 64, 3).permute(0, 2, 1, 3, 4).reshape(512, 1024, 3)
    Image.fromarray((sheet * 255).byte().numpy()).save(options.out)
    print(options.out)


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="command", required=True)
    t = verbs.add_parser("train", help="train, or go on from the last checkpoint")
    t.add_argument("name", help="a folder of assets/backbones")
    t.add_argument("--images", type=int, default=200_000, help="length of the schedule; raise it to extend a run")
    t.add_argument("--minutes", type=float, default=0, help="stop this sitting after so long (0: never)")
    t.add_argument("--seed", type=int, default=0)
    t.add_argument("--threads", type=int, default=2)
    t.add_argument("--device", default="auto")
    t.add_argument("--batch-size", type=int, default=32)
    t.add_argument("--optimizer", choices=("adamw", "muon"), default="muon")
    t.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate of AdamW")
    t.add_argument("--muon-lr", type=float, default=0.02, help="peak learning rate of Muon, for the blocks' matrices")
    t.add_argument("--weight-decay", type=float, default=0.02)
    t.add_argument("--easy-until", type=int, default=20_000, help="images before the first harder one")
    t.add_argument("--hard-from", type=int, default=90_000, help="images after which all levels are drawn")
    t.add_argument("--start", action="store_true", help="a new schedule, from today's weights of the assets")
    t.add_argument("--reader-steps", type=int, default=500, help="with --start: steps in which the reader alone learns")
    t.add_argument("--measure-every", type=int, default=4_000, help="images between two rows of the curve")
    t.add_argument("--checkpoint-minutes", type=float, default=5.0)
    t.add_argument("--folder", default=str(ROOT / "build" / "pretrain"), help="checkpoints")
    t.add_argument("--compile", action="store_true", help="torch.compile; needs a C++ compiler on a CPU")
    t.add_argument("--export", action=argparse.BooleanOptionalAction, default=True, help="write weights to the assets")
    t.set_defaults(run=train)
    p = verbs.add_parser("probe", help="linear probes on the embedded tasks, beside the random-init twin")
    p.add_argument("name")
    p.add_argument("--tasks", nargs="+", default=[*embedded_tasks()], help="all embedded tasks by default")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--weights", default="", help="a checkpoint.pt to probe instead of the exported weights")
    p.add_argument("--write", action=argparse.BooleanOptionalAction, default=True, help="write the result to the card")

    def probe(options: argparse.Namespace) -> None:
        from probe import compare

        compare(options)

    p.set_defaults(run=probe)
    k = verbs.add_parser("look", help="draw a sheet of pictures to look at")
    k.add_argument("level", type=float, help="0 easy to 1 hard")
    k.add_argument("--seed", type=int, default=0)
    k.add_argument("--out", default=str(ROOT / "build" / "drawn.png"))
    k.set_defaults(run=look)
    return parser.parse_args(arguments)


def main() -> None:
    options = options_of()
    options.run(options)


if __name__ == "__main__":
    main()
