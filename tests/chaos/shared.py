"""A cluster whose second machine has the folder of images, and one whose second machine has not: what becomes of a run
that reads them there. The machines are two Ray nodes here, the second in a mount namespace of its own (Linux, as root).

python -m tests.chaos.shared
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from peftcore.engine import Engine
from peftcore.spec import RunSpec
from peftcore.store import Store
from tests.chaos.app import ROOT
from tests.chaos.cluster import PORT, until

HIDDEN = 'mount -t tmpfs none "$0" && exec "$@"'  # an empty folder in its place, for this process and its children


def node(hidden: Path | None, *words: str) -> subprocess.Popen:
    """`ray start` in front. `hidden`: a folder that this machine has not."""
    command = [str(Path(sys.executable).with_name("ray")), "start", *words, "--block"]
    if hidden:
        command = ["unshare", "--mount", "sh", "-c", HIDDEN, str(hidden), *command]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=os.environ | quiet, stdout=subprocess.DEVNULL, start_new_session=True)


def images(folder: Path) -> None:
    """Two classes that differ in brightness."""
    rng = np.random.default_rng(0)
    for name, light in (("dark", 60), ("light", 190)):
        (folder / name).mkdir(parents=True)
        for i in range(24):
            pixels = np.clip(rng.normal(light, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def trial(is_shared: bool) -> str:
    home, data = (Path(tempfile.mkdtemp(prefix=f"headroom-{name}-")) for name in ("home", "data"))
    images(data / "brightness")
    os.environ |= {"HEADROOM_DATA": str(data), "HEADROOM_HOME": str(home)}
    nodes = [node(None, "--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false")]
    try:
        engine = Engine(Store(home), address=f"127.0.0.1:{PORT}", cpus_per_run=1).start()
        nodes.append(node(None if is_shared else data, f"--address=127.0.0.1:{PORT}", "--num-cpus=1"))
        until(lambda: engine.state != "starting" and engine.slots >= 1)
        run = engine.submit(RunSpec(backbone="vit_micro", method="linear", task="folder:brightness", epochs=2))
        until(lambda: engine.store.run(run).ended)
        record = engine.store.run(run)
        engine.shutdown()
        return f"{record.status}: {record.error or 'no error'}"
    finally:
        for one in nodes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
        for folder in (home, data):
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    for is_shared in (True, False):
        print(f"the folder is {'shared' if is_shared else 'missing there'}: {trial(is_shared)}", flush=True)


if __name__ == "__main__":
    main()
