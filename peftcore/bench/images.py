"""Reading image files for training: kept in memory, streamed, and by torchvision's ImageFolder, one process each."""

from __future__ import annotations

import json as js
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from peftcore.cli.output import JSON, answer, console

PEER = "ImageFolder"
WAYS = ("kept", "streamed", PEER)
CLASSES = 10
MOTIFS = 64  # pictures that differ; each file is one of them, rolled by its number


def make_files(folder: Path, images: int, size: int) -> int:
    """Writes `images` PNG and JPEG files of size x size in turn, in folders of classes; returns their total bytes."""
    import numpy as np
    from PIL import Image

    rng, total = np.random.default_rng(0), 0
    coarse = rng.integers(0, 256, (MOTIFS, 8, 8, 3), dtype=np.uint8)
    grain = rng.normal(0, 6, (MOTIFS, size, size, 3))
    smooth = [np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse]
    motifs = [(s + g).clip(0, 255).astype(np.uint8) for s, g in zip(smooth, grain, strict=True)]
    for number in range(CLASSES):
        (folder / f"class{number}").mkdir(parents=True)
    for number in range(images):
        file = folder / f"class{number % CLASSES}" / f"{number:07}.{('png', 'jpg')[number // CLASSES % 2]}"
        picture = np.roll(motifs[number % MOTIFS], number // MOTIFS, axis=(0, 1))
        Image.fromarray(picture).save(file, quality=90, compress_level=1)  # each format takes its own
        total += file.stat().st_size
    return total


def read(way: str, folder: Path, size: int, batch_size: int, epochs: int) -> dict[str, Any]:
    """Seconds of each pass over all images as tensors (b, 3, size, size), each in its own order, and of the look at the
    files that a run begins with; and by how many bytes at most the process grew above its imports."""
    first, epoch = (_peer if way == PEER else _ours)(way, folder, size, batch_size)
    before = _peak()
    look = _seconds(first)
    seconds = [_seconds(partial(epoch, n)) for n in range(epochs)]
    return {"look": look, "epochs": seconds, "bytes": _peak() - before}


def _peak() -> int:
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


Passes = tuple[Callable[[], None], Callable[[int], None]]


def _ours(way: str, folder: Path, size: int, batch_size: int) -> Passes:
    import torch

    from peftcore.task import check_images, read_ahead
    from peftcore.uploads.pictures import Pictures

    files = sorted(folder.glob("*/*"))
    images: Any = Pictures(files, size, kept_bytes=None if way == "kept" else 0)
    if (way == "kept") != images.kept:
        raise SystemExit("They do not fit: allow more with HEADROOM_IMAGES_GB.")

    def look() -> None:
        for _ in check_images(images):
            pass

    def epoch(number: int) -> None:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(number)).split(batch_size)
        for index, following in zip(order, [*order[1:], order[0][:0]], strict=True):
            read_ahead(images, following.numpy())
            torch.tensor(images[index.numpy()]).permute(0, 3, 1, 2).float().div_(255)

    return look, epoch


def _peer(way: str, folder: Path, size: int, batch_size: int) -> Passes:
    """As in torchvision's tutorials, in one process."""
    import torch
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    data = ImageFolder(str(folder), transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor()]))

    def epoch(number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        for _ in torch.utils.data.DataLoader(data, batch_size, shuffle=True, generator=generator):
            pass

    return lambda: None, epoch


def _seconds(what: Callable[[], None]) -> tuple[float, float]:
    """Wall-clock and processor time: on a machine with other work only the second can be compared."""
    began = time.perf_counter(), time.process_time()
    what()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def _both(seconds: Sequence[float]) -> str:
    return f"{seconds[0]:.1f} s ({seconds[1]:.1f})"


def _least(row: dict[str, Any]) -> Sequence[float]:
    """The epoch that took the least processor time."""
    return min(row["epochs"], key=lambda seconds: seconds[1])


def measure(images: int, size: int, batch_size: int, epochs: int, folder: Path) -> Iterator[dict[str, Any]]:
    """A row per way of reading the files in `folder`, each in a process of its own."""
    code = "import sys, json; from peftcore.bench.images import read; from pathlib import Path; "
    code += "w, f, s, b, e = sys.argv[1:]; print(json.dumps(read(w, Path(f), int(s), int(b), int(e))))"
    for way in WAYS:
        words = [way, str(folder), str(size), str(batch_size), str(epochs)]
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr.strip().splitlines()[-1])
        yield {"way": way, **js.loads(done.stdout.splitlines()[-1])}


def command(
    images: Annotated[int, typer.Option(min=1)] = 50_000,
    size: Annotated[int, typer.Option(min=8, help="Pixels on a side.")] = 64,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    json: JSON = False,
) -> None:
    """Time and memory of reading many image files: kept in memory, streamed, and torchvision's ImageFolder."""
    with tempfile.TemporaryDirectory() as name:
        began, folder = time.perf_counter(), Path(name)
        on_disk = make_files(folder, images, size)
        console.print(f"{images:,} files, {on_disk / 1e6:,.0f} MB, written in {time.perf_counter() - began:.0f} s")
        rows = list(measure(images, size, batch_size, epochs, folder))
    peer = rows[-1]
    shown = [
        {
            "images": row["way"],
            "look at the files": _both(row["look"]) if row is not peer else "",
            "epoch": _both(_least(row)),
            "processor / peer": f"{_least(row)[1] / _least(peer)[1]:.2f}",
            "MB above imports": f"{row['bytes'] / 1e6:,.0f}",
            "MB / decoded": f"{row['bytes'] / (3 * size * size * images):.2f}",
        }
        for row in rows
    ]
    title = f"{images:,} images of {size} x {size}, batch {batch_size}; wall-clock (processor) seconds; peer: {PEER}"
    answer(json, {"rows": rows, "files_bytes": on_disk}, title, shown)
