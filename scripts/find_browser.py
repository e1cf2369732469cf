"""Finds a Chromium for the browser test, or installs one: from the PATH, Debian's packages, or Playwright's own.

Prints its path; `tests/browser` calls `find()`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """The path of a Chromium, or None."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


def install() -> None:
    """Tries Debian's package, then Playwright's download; their output goes to standard error."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]):
            subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
    if not find():
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], stdout=sys.stderr, check=False)


if __name__ == "__main__":
    if not find():
        install()
    if not (path := find()):
        sys.exit(
            "No Chromium found: none on the PATH, none from Debian's packages, none from Playwright. "
            "Install chromium and run again."
        )
    print("browser:", path)
