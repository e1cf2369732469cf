"""A Ray to run on: a quiet local one that only this machine can reach, or the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from peftcore import errors
from peftcore.engine.revival import Revival

ROOT = Path(__file__).resolve().parents[2]  # the folder that holds the package and its assets
# A client of Ray ends its whole process, here the app, where the GCS has been away for so long; Ray's own is 60. It is
# read as Ray is imported, and Ray's servers and workers keep theirs. By then the engine has left a dead Ray.
PATIENCE_SECONDS = "600"
GRACE_SECONDS = 2.0  # for Ray's processes to end by themselves
OBJECT_STORE_BYTES = 128 * 2**20  # events are small; an adapter that is larger goes through the disk
SHARE_FOR_RUNS = 0.9  # of the machine's memory; the rest is the app's, Ray's and the system's
LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, on Linux


class NotInstalled(errors.EngineUnavailable):
    """Ray cannot be imported; waiting does not help."""


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
        NotInstalled: Ray cannot be imported. EngineUnavailable: it did not start, or cannot be reached.
    """
    if address is None:
        _configure_local(folder)
    else:
        _knock(address)
    try:
        with _environment(RAY_gcs_rpc_server_reconnect_timeout_s=PATIENCE_SECONDS):
            import ray
    except ImportError as error:
        raise NotInstalled(
            f"Runs need Ray, which cannot be imported ({error}); install it as `pip install ray`, "
            "or run in this process with `python -m peftcore run`."
        ) from None
    if running():
        return []  # other code in this process started it and looks after it
    before = psutil.Process().children()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            with _importable_in_children(), Revival() as revival:
                ray.init(
                    address="local",
                    num_cpus=num_cpus,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _memory=_memory(),
                    **quiet,
                )
            if revival.was_needed:
                raise ChildProcessError("its GCS was killed while it started")
        else:
            # A cluster's machines need not have this code: Ray sends it, once for each state of it.
            excluded = [".git", ".venv", "tests", "docs", "__pycache__", "*.sqlite3*"]
            ray.init(address=address, runtime_env={"working_dir": str(ROOT), "excludes": excluded}, **quiet)
    except Exception as error:  # Ray raises whatever its layers raise; each of them means that there is no Ray
        with contextlib.suppress(Exception):
            ray.shutdown()
        _sweep(before, str(Path(ray.__file__).parent))
        where = f"could not be reached at {address}" if address else "could not be started"
        raise errors.EngineUnavailable(
            f"Ray {where} ({type(error).__name__}: {error}). "
            + ("Check RAY_ADDRESS, or unset it to run on this machine." if address else "It is tried again.")
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
    """Whether all of them still work. Ray itself reports their death to its driver late or never."""
    return all(server.is_running() and server.status() != psutil.STATUS_ZOMBIE for server in servers)


def _memory() -> int:
    """Bytes that runs may take together: whatever else the machine does now, it will not do for ever."""
    here = psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        here = min(here, int(LIMIT.read_text()))
    return int(SHARE_FOR_RUNS * here) - OBJECT_STORE_BYTES


def family(servers: list[psutil.Process]) -> set[psutil.Process]:
    """What they have started: workers and agents. Those of a dead server are nobody's children any more, so look
    while it lives."""
    found = set[psutil.Process]()
    for server in servers:
        with contextlib.suppress(psutil.Error):
            found.update(server.children(recursive=True))
    return found


def end(orphans: set[psutil.Process]) -> None:
    """Ends what outlived Ray: its agents wait a minute for a GCS that was killed."""
    _, left = psutil.wait_procs(orphans, timeout=GRACE_SECONDS)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _sweep(before: Sequence[psutil.Process], package: str) -> None:
    """Ends the servers of a Ray that did not come up: Ray forgets those of a node that is half made."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child not in before and package in " ".join(child.cmdline()):
                for process in [*child.children(recursive=True), child]:
                    process.kill()
                child.wait(GRACE_SECONDS)


def _servers() -> list[psutil.Process]:
    found = [child for child in psutil.Process().children() if child.name() in ("raylet", "gcs_server")]
    return [child for child in found if child.status() != psutil.STATUS_ZOMBIE]


def answers(address: str) -> bool:
    """Whether a cluster is there. Ray itself ends the whole process where one has been away for a minute."""
    try:
        _knock(address)
    except errors.EngineUnavailable:
        return False
    return True


def _knock(address: str) -> None:
    """Refuses an address that does not answer; Ray itself would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return  # 'auto' and the like are Ray's own
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
    # Ray replaces a loopback address by the outward one, except where it believes that it cannot form clusters; then
    # all its servers bind to 127.0.0.1.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # By default Ray's workers stand back behind everything (niceness 15, a thirtieth of a core beside another process),
    # and of two threads that wait for each other the slower one decides. At 5 the page still comes first.
    os.environ.setdefault("RAY_worker_niceness", "5")
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


def _importable_in_children() -> contextlib.AbstractContextManager[None]:
    """While it is entered, processes started from here can import this package, wherever the app was started."""
    known = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    return _environment(PYTHONPATH=os.pathsep.join(dict.fromkeys(known)))


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
