"""Tries the proxies of docs/hosting.md as they are written there: `python scripts/proxies.py [nginx] [caddy]`.

The lines are taken from the page; the app's port and the certificate alone are others. Port 443 has to be free, and
root's to take. A browser enters the room through the proxy and opens a page; it is drawn through a WebSocket, or not at
all.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOST, PORT = "headroom.example", 443
PATIENCE = 300.0  # seconds


def block(language: str) -> str:
    """The first block of a language in docs/hosting.md."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "docs/hosting.md").read_text(), re.S)
    if found is None:
        raise SystemExit(f"docs/hosting.md has no block of {language}.")
    return found.group(1)


def nginx(folder: Path, app: int) -> subprocess.Popen:
    key = ["-keyout", f"{folder}/headroom.key", "-out", f"{folder}/headroom.pem", "-subj", f"/CN={HOST}"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *key], check=True,
                   capture_output=True)  # fmt: skip
    server = block("nginx").replace("8501", str(app)).replace("/etc/ssl/", f"{folder}/")
    around = f"pid {folder}/pid; error_log {folder}/error.log; daemon off; events {{}}\nhttp {{\naccess_log off;\n"
    (folder / "nginx.conf").write_text(f"{around}{server}}}\n")
    return subprocess.Popen([_found("nginx"), "-c", folder / "nginx.conf"])


def caddy(folder: Path, app: int) -> subprocess.Popen:
    site = block("caddy").replace("8501", str(app)).replace("{", "{\n tls internal", 1)
    around = f"{{\n admin off\n storage file_system {folder}\n skip_install_trust\n auto_https disable_redirects\n}}\n"
    (folder / "Caddyfile").write_text(around + site)
    return subprocess.Popen([_found("caddy"), "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"],
                            stderr=(folder / "caddy.log").open("w"))  # fmt: skip


def open_through(code: str) -> str:
    """What a browser finds: enters with the code, opens Runs, and reads its heading."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        words = ["--no-sandbox", f"--host-resolver-rules=MAP {HOST} 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=words)
        page = browser.new_context(ignore_https_errors=True).new_page()
        sockets: list[str] = []
        page.on("websocket", lambda one: sockets.append(one.url))
        answer = page.goto(f"https://{HOST}/enter?code={code}&next=/runs", timeout=PATIENCE * 1000)
        framed = answer.headers.get("content-security-policy") if answer else None
        page.fill("input[name=name]", "Ada")
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-testid=stAppViewContainer] h1", timeout=PATIENCE * 1000)
        heading = page.inner_text("[data-testid=stAppViewContainer] h1")
        browser.close()
    return f"page {heading!r} over {sockets[-1] if sockets else 'no WebSocket'}; content-security-policy: {framed}"


def main() -> None:
    wanted = sys.argv[1:] or ["nginx", "caddy"]
    app, folder = _free(), Path(tempfile.mkdtemp(prefix="headroom-proxies-"))
    folder.chmod(0o755)
    names = subprocess.check_output([sys.executable, "scripts/own_names.py", "127.0.0.1", HOST], cwd=ROOT, text=True)
    command = [sys.executable, "-m", "streamlit", "run", "room_app.py", "--server.address", "127.0.0.1"]
    command += ["--server.port", str(app), "--server.headless", "true", *names.split()]
    home = {"HEADROOM_HOME": str(folder / "home"), "HEADROOM_DATA": "none"}
    served = subprocess.Popen(["env", *(f"{k}={v}" for k, v in home.items()), *command], cwd=ROOT,
                              stdout=(folder / "app.log").open("w"))  # fmt: skip
    try:
        _healthy(f"http://127.0.0.1:{app}/_stcore/health")
        code = re.search(r"code=(\S+)", _until(lambda: (folder / "app.log").read_text(), "code="))
        for name in wanted:
            if _answers(PORT):
                raise SystemExit(f"Something listens on {PORT} already.")
            proxy = {"nginx": nginx, "caddy": caddy}[name](folder, app)
            try:
                _until(partial(_answers, PORT), "up")
                version = subprocess.run([_found(name), "version" if name == "caddy" else "-v"], capture_output=True,
                                         text=True)  # fmt: skip
                said = (version.stdout + version.stderr).strip().splitlines()[0]
                print(f"{name} ({said}): {open_through(code.group(1) if code else '')}", flush=True)
            finally:
                proxy.terminate()
                proxy.wait()
    finally:
        served.terminate()
        served.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _found(name: str) -> str:
    for place in (None, "/usr/sbin:/usr/local/sbin"):
        if path := shutil.which(name, path=place):
            return path
    raise SystemExit(f"There is no {name} here; Debian has it as a package of that name.")


def _free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _answers(port: int) -> str:
    with socket.socket() as one:
        return "" if one.connect_ex(("127.0.0.1", port)) else "up"


def _healthy(address: str) -> None:
    def ask() -> str:
        try:
            return urllib.request.urlopen(address, timeout=5).read().decode()
        except OSError:
            return ""

    _until(ask, "ok")


def _until(ask: Callable[[], str], wanted: str) -> str:
    end = time.monotonic() + PATIENCE
    while wanted not in (found := ask()):
        if time.monotonic() > end:
            raise SystemExit(f"{wanted!r} did not come in time.")
        time.sleep(0.3)
    return found


if __name__ == "__main__":
    main()
