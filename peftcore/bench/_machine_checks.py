"""What the doctor looks at on a machine: libraries, memory, disk, store, Ray, hub, weights."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peftcore.cli.variables import VARIABLES
from peftcore.home import gigabytes, home

State = Literal["works", "limited", "fails"]
LIBRARIES = ("torch", "torchvision", "timm", "peft", "ray", "streamlit", "plotly", "captum", "pydantic")
NEEDED = 2e9  # bytes of disk below which runs, features and downloads soon end


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` is empty where it works."""

    name: str
    state: State
    found: str
    remedy: str = ""


def libraries() -> Iterator[Finding]:
    """Python and libraries."""
    pinned = _pins()
    yield Finding("python", "works", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in LIBRARIES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "fails", "not installed", f"pip install {name}=={pinned.get(name, '')}".rstrip("="))
            continue
        same = pinned.get(name) in (None, version.partition("+")[0])
        yield Finding(name, "works" if same else "limited", version,
                      "" if same else f"tried with {pinned[name]}: pip install {name}=={pinned[name]}")  # fmt: skip
    import torch
    import torchvision

    yield Finding("torch build", "works", f"CUDA {torch.version.cuda}" if torch.version.cuda else "for the CPU")
    try:
        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except (RuntimeError, NotImplementedError):
        yield Finding("torch and torchvision", "limited", "of different builds: torchvision's kernels are missing; "
                      "Headroom needs none of them", "pip install both from one index, as a pair")  # fmt: skip


def _pins() -> dict[str, str]:
    file = Path(__file__).parents[2] / "requirements.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return {name: version for name, _, version in (line.partition("==") for line in lines) if version}


def processors() -> Iterator[Finding]:
    """Processors and memory."""
    import psutil
    import torch

    memory = psutil.virtual_memory()
    yield Finding("processors", "works", f"{os.cpu_count()}, PyTorch uses {torch.get_num_threads()} threads")
    small = memory.available < NEEDED
    yield Finding("memory", "limited" if small else "works", f"{_gb(memory.available)} free of {_gb(memory.total)}",
                  "close other programs, or keep to small backbones" if small else "")  # fmt: skip
    for i in range(torch.cuda.device_count()):
        about, (free, total) = torch.cuda.get_device_properties(i), torch.cuda.mem_get_info(i)
        half = torch.cuda.is_bf16_supported()
        yield Finding(f"cuda:{i}", "works" if half else "limited",
                      f"{about.name}, {_gb(free)} free of {_gb(total)}, capability {about.major}.{about.minor}, "
                      f"{'bf16' if half else 'no bf16'}", "" if half else "train with precision fp32")  # fmt: skip
    if torch.version.cuda and not torch.cuda.is_available():
        # PyPI's PyTorch for Linux is built for CUDA: without a driver it is nothing but larger than it needs to be.
        has_driver = shutil.which("nvidia-smi")
        yield Finding("cuda", "fails" if has_driver else "limited", "PyTorch is built for CUDA and finds no GPU",
                      "check the driver with nvidia-smi, and CUDA_VISIBLE_DEVICES" if has_driver else
                      "none is needed; if there is an NVIDIA GPU, install its driver")  # fmt: skip
    elif not torch.cuda.is_available() and shutil.which("nvidia-smi"):
        yield Finding("cuda", "fails", "there is an NVIDIA driver, and PyTorch is built for the CPU",
                      "pip install torch from https://download.pytorch.org/whl/cu130")  # fmt: skip


def disk() -> Iterator[Finding]:
    """Headroom's folder."""
    folder = home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Finding(
            "folder", "fails", f"{folder} cannot be written: {error.strerror}", "set HEADROOM_HOME to another folder"
        )
        return
    small = free < NEEDED
    yield Finding("folder", "limited" if small else "works", f"{folder}, {_gb(free)} free",
                  "free some space, or set HEADROOM_HOME to another disk" if small else "")  # fmt: skip
    for variable in VARIABLES:
        if variable in os.environ and variable.endswith("_GB"):
            yield Finding(variable, "works", f"{gigabytes(variable)} GB")


def database() -> Iterator[Finding]:
    """The store's file system."""
    folder = home()
    with tempfile.TemporaryDirectory(dir=folder) as place, closing(sqlite3.connect(Path(place) / "try.db")) as database:
        (mode,) = database.execute("PRAGMA journal_mode=WAL").fetchone()
    yield Finding("store", "works" if mode == "wal" else "fails", f"SQLite {sqlite3.sqlite_version}, journal {mode}",
                  "" if mode == "wal" else "HEADROOM_HOME must lie on a local disk")  # fmt: skip


def ray_task() -> Iterator[Finding]:
    """Ray, with one task on it."""
    from peftcore.engine import cluster

    address, began = os.environ.get("RAY_ADDRESS"), time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        cluster.start(Path(place), address)
        import ray

        try:
            nodes = ray.get(ray.remote(lambda: os.cpu_count()).remote(), timeout=60)
            resources = ray.cluster_resources()
        finally:
            ray.shutdown()
    where = f"the cluster at {address}" if address else "of its own"
    amount = f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    yield Finding("ray task", "works", f"{where}: {amount}; a "
                  f"task on {nodes} processors ran {time.perf_counter() - began:.0f} s after the start")  # fmt: skip


def hub() -> Iterator[Finding]:
    """The model hub."""
    import urllib.error
    import urllib.request

    from peftcore.fetch import places

    remedy = "put weights into HEADROOM_WEIGHTS, or set HF_ENDPOINT to a mirror; embedded backbones need neither"
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false", "no"):
        yield Finding("hub", "limited", "HF_HUB_OFFLINE is set: nothing is downloaded", remedy)
        return
    try:
        urllib.request.urlopen(urllib.request.Request(places.hub(), method="HEAD"), timeout=5).close()
    except urllib.error.HTTPError:
        pass  # it answered
    except OSError as error:
        yield Finding("hub", "limited", f"{places.hub()} does not answer ({getattr(error, 'reason', error)})", remedy)
        return
    yield Finding("hub", "works", f"{places.hub()} answers" + (", with a token" if os.environ.get("HF_TOKEN") else ""))


def weights() -> Iterator[Finding]:
    """Weights on this machine."""
    from peftcore.backbone.embedded import names
    from peftcore.backbone.load import load_backbone
    from peftcore.fetch import places
    from peftcore.fetch.curated import CURATED

    for name in names():
        backbone = load_backbone(name)
        yield Finding(name, "works", f"embedded, {backbone.parameter_count() / 1e6:.1f} M parameters, fingerprint "
                      f"{backbone.fingerprint[:8]}")  # fmt: skip
    here = [name for name in CURATED if places.here(name)]
    yield Finding("pretrained weights", "works" if here else "limited", ", ".join(here) or f"none in {places.folder()}",
                  "" if here else "python -m peftcore fetch NAME, where the hub can be reached")  # fmt: skip


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
