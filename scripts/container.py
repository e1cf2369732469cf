"""Runs the Dockerfile's steps where no container engine is: `python scripts/container.py FOLDER`, as root on Linux.

FOLDER gets the container's root: an overlay over this machine's system with a Python of its own and no packages, where
this project's folder is hidden. Each instruction is then carried out in it, and CMD is started; what HEALTHCHECK says
is printed, and how the app ended when it was told to. What an earlier try in FOLDER has installed is kept.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = ("site-packages", "__pycache__", "test", "*.a")
PATIENCE = 240.0  # seconds until it has to be healthy


def instructions(text: str) -> list[tuple[str, str]]:
    """(name, what follows) of each instruction of a Dockerfile."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


class Container:
    """A root of its own: changes go to `folder`, the system below stays as it is."""

    def __init__(self, folder: Path):
        self.root = folder / "root"
        self.where, self.user = Path("/"), ""
        self.environment = {
            "PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            "NAMES": "headroom.example",
        }
        self.environment["LD_LIBRARY_PATH"] = "/usr/local/lib"  # where the copied Python has its library
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
        self.environment |= kept  # how packages are reached from here
        for name in ("changes", "work", "root", "empty"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir=/,upperdir={folder / 'changes'},workdir={folder / 'work'}"
        _do("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        self.mounted = [self.root]
        for name in ("proc", "dev", "tmp"):
            _do("mount", *(("-t", "tmpfs", "tmpfs") if name == "tmp" else ("--rbind", f"/{name}")), self.root / name)
            self.mounted.append(self.root / name)
        hidden = self.root / ROOT.relative_to("/").parts[0]
        _do("mount", "-t", "tmpfs", "tmpfs", hidden)
        self.mounted.append(hidden)

    def shell(self, command: str) -> list[str]:
        user = ("--userspec", self.user) if self.user else ()
        said = f"cd {shlex.quote(str(self.where))} && {command}"
        return [shutil.which("chroot") or "/usr/sbin/chroot", *user, str(self.root), "/bin/sh", "-c", said]

    def carry_out(self, name: str, rest: str) -> None:
        match name:
            case "FROM":  # python:3.11-slim has a Python in /usr/local with pip alone
                local = self.root / "usr/local"
                shutil.rmtree(local)
                shutil.copytree(sys.base_prefix, local, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
                _do(*self.shell("python3 -m ensurepip && ln -sf pip3 /usr/local/bin/pip"), env=self.environment)
            case "WORKDIR":
                self.where = Path(rest)
                self._inside(self.where).mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, target = rest.split()
                for source in sources:
                    self._copy(ROOT / source, self._inside(self.where / target), target)
            case "RUN":
                _do(*self.shell(rest), env=self.environment)
            case "USER":
                self.user = rest
            case "ENV":
                self.environment |= dict(word.split("=", 1) for word in shlex.split(rest))
            case "EXPOSE" | "HEALTHCHECK" | "CMD":
                pass
            case _:
                raise SystemExit(f"{name}: an instruction that this script does not know.")

    def _inside(self, path: Path) -> Path:
        return self.root / path.relative_to("/")

    def _copy(self, source: Path, target: Path, said: str) -> None:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place = target / source.name if said.endswith("/") else target
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)

    def close(self) -> None:
        for place in reversed(self.mounted):
            subprocess.run(["umount", "-R", "-l", place], check=False)


def _do(*command: str | Path, env: dict[str, str] | None = None) -> None:
    subprocess.run(list(map(str, command)), check=True, env=env)


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    steps = instructions((ROOT / "Dockerfile").read_text())
    said = dict(steps)
    done = (folder / "done").read_text().splitlines() if (folder / "done").exists() else []
    here = Container(folder)
    try:
        for name, rest in steps:
            print(f"{time.strftime('%H:%M:%S')} {name} {rest[:90]}", flush=True)
            if name not in ("FROM", "RUN") or f"{name} {rest}" not in done:
                here.carry_out(name, rest)
                with (folder / "done").open("a") as file:
                    print(name, rest, file=file)
        app = subprocess.Popen(here.shell(said["CMD"]), env=here.environment, start_new_session=True)
        health = said["HEALTHCHECK"].partition("CMD ")[2]
        end = time.monotonic() + PATIENCE
        while subprocess.run(here.shell(health), env=here.environment, capture_output=True).returncode:
            if time.monotonic() > end or app.poll() is not None:
                raise SystemExit("It did not become healthy.")
            time.sleep(1)
        print("healthy", flush=True)
        if "--stay" in sys.argv:
            app.wait()
        app.send_signal(signal.SIGTERM)
        print(f"ended {app.wait(60)} after SIGTERM")
    finally:
        here.close()


if __name__ == "__main__":
    main()
