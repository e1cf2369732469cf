"""What Headroom needs and a machine with PyTorch and timm may lack: wheels that travel, and are unpacked there."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

START_SECONDS = 60.0  # that a worker may take to unpack wheels and import PyTorch
# Module -> distribution. typer, rich and theirs: of peftcore's benchmarks, which are commands; matplotlib: of captum.
NEEDED = {
    "pydantic": "pydantic", "pydantic_core": "pydantic-core", "annotated_types": "annotated-types",
    "typing_inspection": "typing-inspection", "typing_extensions": "typing-extensions", "psutil": "psutil",
    "captum": "captum", "typer": "typer", "rich": "rich", "shellingham": "shellingham",
    "markdown_it": "markdown-it-py", "mdurl": "mdurl", "pygments": "pygments", "annotated_doc": "annotated-doc",
    "matplotlib": "matplotlib", "contourpy": "contourpy", "kiwisolver": "kiwisolver", "fontTools": "fonttools",
    "cycler": "cycler", "pyparsing": "pyparsing", "dateutil": "python-dateutil",
}  # fmt: skip
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux2010_x86_64",
             "manylinux1_x86_64", "manylinux_2_12_x86_64", "manylinux_2_5_x86_64")  # fmt: skip


def prepare(options: argparse.Namespace) -> None:
    """Downloads the wheels into a folder, in the versions that are pinned here."""
    pins = dict(line.split("==") for line in (Path(__file__).parents[1] / "requirements.txt").read_text().split()
                if line.count("==") == 1)  # fmt: skip
    import importlib.metadata as installed

    names = [*NEEDED.values(), *filter(None, options.also.split(","))]
    wanted = []
    for name in names:
        try:
            wanted.append(f"{name}=={pins.get(name) or installed.version(name)}")
        except installed.PackageNotFoundError:
            wanted.append(name)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", options.folder,
               "--python-version", options.python, "--implementation", "cp"]  # fmt: skip
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    subprocess.run([*command, *wanted], check=True)
    files = sorted(Path(options.folder).glob("*.whl"))
    size = sum(file.stat().st_size for file in files)
    print(f"{len(files)} wheels, {size / 1e6:.1f} MB, for Python {options.python} in {options.folder}")


def unpack(folder: str) -> None:
    """Makes importable what this machine lacks, here and in child processes, from wheels; pip is not needed.

    Raises SystemExit, with what is missing and how to bring it.
    """
    if folder:
        lacking = {name.replace("-", "_") for module, name in NEEDED.items() if find_spec(module) is None}
        known = {name.replace("-", "_") for name in NEEDED.values()}
        site = tempfile.mkdtemp(prefix="headroom-wheels-")
        for wheel in Path(folder).glob("*.whl"):
            name = wheel.name.partition("-")[0].lower().replace(".", "_")
            if name in lacking or name not in known:
                with zipfile.ZipFile(wheel) as packed:
                    packed.extractall(site)
        sys.path.append(site)
        os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), site])
    if missing := [name for module, name in NEEDED.items() if find_spec(module) is None]:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SystemExit(
            f"Missing here: {', '.join(missing)}. Where there is a network: python scripts/gpu_check.py prepare wheels "
            f"--python {python}; then run with --wheels wheels."
        )
