"""A Ray to run on: a quiet local one that only this machine can reach, or the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from peftcore import errors

ROOT = Path(__file__).resolve().parents[2]  # the folder that holds the package and its assets
WARM_UP = "peftcore.engine.worker:warm_up"
# Random weights and few images: nothing has to be on the disk, and it takes little of the machine.
WARM_UP_RUN = {"method": "last", "task": "digits", "batch_size": 8, "pretrained": False, "cache_features": False}
MOST_CPUS = 4  # more threads than this gain little on the models that a workbench trains
MOST_WARM = 2  # workers that import torch before anybody asks; about 300 MB each
OBJECT_STORE_BYTES = 128 * 2**20  # events are small; an adapter that is larger goes through the disk


def start(folder: Path, address: str | None = None, num_cpus: int | None = None) -> list[psutil.Process]:
    """Starts a local Ray, or joins the one at `address`.

    Call it from a thread that lives as long as Ray is to live: on Linux, Ray's processes ask the kernel to end them
    when the thread that started them ends.

    Args:
        folder: where the local Ray's access token is kept.
        address: 'host:port' of a running cluster; None starts a local Ray.
        num_cpus: CPUs of the local Ray; by default those this process may use.

    Returns:
        The processes on this machine without which Ray is dead: see `alive`.

    Raises:
        EngineUnavailable: Ray is not installed, did not start, or cannot be reached.
    """
    if address is None:
        _configure_local(folder)
    else:
        _knock(address)
    try:
        import ray
    except ImportError as error:
        raise errors.EngineUnavailable(
            f"Runs need Ray, which cannot be imported ({error}); install it as `pip install ray`, "
            "or run in this process with `python -m peftcore run`."
        ) from None
    if running():
        return []  # somebody else in this process looks after it
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            with _importable_in_children():
                ray.init(
                    address="local",
                    num_cpus=num_cpus,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    **quiet,
                )
        else:
            # A cluster's machines need not have this code: Ray sends it, once for each state of it.
            excluded = [".git", ".venv", "tests", "docs", "__pycache__", "*.sqlite3*"]
            ray.init(address=address, runtime_env={"working_dir": str(ROOT), "excludes": excluded}, **quiet)
    except Exception as error:  # Ray raises whatever its layers raise; each of them means that there is no Ray
        where = f"could not be reached at {address}" if address else "could not be started"
        raise errors.EngineUnavailable(
            f"Ray {where} ({type(error).__name__}: {error}). "
            + ("Check RAY_ADDRESS, or unset it to run on this machine." if address else "Start the app again.")
        ) from error
    if address is None and not ray.util.get_node_ip_address().startswith(("127.", "::1")):
        ray.shutdown()
        raise errors.EngineUnavailable(
            "Ray was imported before its engine started and would have opened ports to the network; "
            "start the engine first."
        )
    return _servers()


def running() -> bool:
    """Whether this process is connected to a Ray already."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


def alive(servers: list[psutil.Process]) -> bool:
    """Whether all of them still work. Ray itself tells its driver late or never that they do not."""
    return all(server.is_running() and server.status() != psutil.STATUS_ZOMBIE for server in servers)


def _servers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.name() in ("raylet", "gcs_server")]


def _knock(address: str) -> None:
    """Refuses an address where nobody answers; Ray itself would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return  # 'auto' and the like: Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise errors.EngineUnavailable(
            f"No Ray cluster answers at {address} ({error}). Check RAY_ADDRESS, or unset it to run on this machine."
        ) from None


def _configure_local(folder: Path) -> None:
    """Token on, usage reports off, every port on loopback. Ray reads most of this when it is imported."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray replaces a loopback address that it is given by the outward one, except where it believes that it cannot
    # form clusters; then all its servers bind to 127.0.0.1.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Without this Ray keeps as many blank workers as there are CPUs, and a run may land on one that has no torch yet.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(_token(folder))


def _token(folder: Path) -> Path:
    """A file with a secret that only this user can read; made once."""
    path = folder / "ray-token"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path


def leave_out(group: str, which: Collection[int]) -> None:
    """Tells the process that works on a group which of its runs are to go no further; none: it has ended."""
    from ray.experimental import internal_kv as shared

    if which:
        shared._internal_kv_put(group, json.dumps(sorted(which)), overwrite=True)
    else:
        shared._internal_kv_del(group)


def left_out(group: str) -> frozenset[int]:
    """What `leave_out` said last, in whichever process of the cluster."""
    from ray.experimental import internal_kv as shared

    return frozenset(json.loads(shared._internal_kv_get(group) or "[]"))


class Workers:
    """Ray's worker processes as runs use them: how much each run takes, how many work at once, and a warm one ready.

    Args:
        cpus_per_run: CPUs and threads of each run; 0: all that there are, at most MOST_CPUS.
        runs_per_gpu: how many runs share one GPU, where there is one.
    """

    def __init__(self, cpus_per_run: int, runs_per_gpu: int):
        import ray

        from peftcore.engine import worker

        cpus, gpus = (int(ray.cluster_resources().get(name, 0)) for name in ("CPU", "GPU"))
        self.cpus_per_run = max(1, min(cpus_per_run or MOST_CPUS, cpus))
        self.gpu_share = 1 / runs_per_gpu if gpus else 0
        self.slots = max(1, cpus // self.cpus_per_run)
        if gpus:
            self.slots = min(self.slots, gpus * runs_per_gpu)
        # A process that has used one GPU cannot move to another. Where there is only one, it stays and stays warm.
        calls = 1 if gpus > 1 else 0
        task = ray.remote(max_calls=calls, max_retries=0, num_cpus=self.cpus_per_run)
        self._alone, self._together = task(worker.work), task(worker.work_together)
        self._warming: list[Any] = []  # streams, kept so that Ray does not forget them

    def begin(self, function: str, settings: Mapping[str, Any], resume: bytes | None = None) -> Any:
        """Queues a run in Ray and returns the stream of what `worker.work` tells."""
        return self._on(self._alone, settings).remote(function, dict(settings), resume, self.cpus_per_run)

    def begin_together(
        self, function: str, settings: Sequence[Mapping[str, Any]], resume: Sequence[bytes | None], group: str
    ) -> Any:
        """The same for several runs in one process, which takes as much as one run; see `worker.work_together`."""
        every = [dict(one) for one in settings]
        return self._on(self._together, every[0]).remote(function, every, list(resume), group, self.cpus_per_run)

    def _on(self, task: Any, settings: Mapping[str, Any]) -> Any:
        return task.options(num_gpus=0 if settings.get("device") == "cpu" else self.gpu_share)

    def warm_up(self, count: int = 1) -> None:
        """Lets workers import torch, and take a step, before a run comes to them."""
        self._warming += [self.begin(WARM_UP, WARM_UP_RUN) for _ in range(min(count, self.slots, MOST_WARM))]


class _importable_in_children:
    """For as long as it lasts, processes started from here can import this package, wherever the app was started."""

    def __enter__(self) -> None:
        self.before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, [str(ROOT), self.before])))

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = self.before
