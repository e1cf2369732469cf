"""Times the app as a user meets it, in a real browser.

Prints seconds from the app's start to its first paint (first and second start), and from the click on Launch to the
first point of the curve, with a cold and with a warm engine: `python scripts/measure_app.py`.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from find_browser import find
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PORT = 8611
ADDRESS = f"http://127.0.0.1:{PORT}"


def start(home: str) -> subprocess.Popen:
    environment = {**os.environ, "HEADROOM_HOME": home, "STREAMLIT_SERVER_HEADLESS": "true"}
    return subprocess.Popen(
        ["make", "app", f"PORT={PORT}"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )


def stop(app: subprocess.Popen) -> None:
    os.killpg(app.pid, signal.SIGINT)
    try:
        app.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(app.pid, signal.SIGKILL)


def answering() -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", PORT)) == 0


def first_paint(page: Page, began: float) -> float:
    while not answering():
        time.sleep(0.02)
    page.goto(ADDRESS)
    page.get_by_role("heading", level=1).wait_for()
    return time.perf_counter() - began


def click_to_first_point(page: Page, method: str, epochs: int) -> float:
    """Seconds from the click on Launch until the loss curve shows a step."""
    page.goto(f"{ADDRESS}/launch?method={method}&epochs={epochs}&seed={int(time.time()) % 1000}")
    page.get_by_text(re.compile("Trains .* weights")).wait_for()
    clicked = time.perf_counter()
    page.get_by_role("button", name="Launch", exact=True).click()
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for(state="attached")
    return time.perf_counter() - clicked


def main() -> None:
    home = tempfile.mkdtemp()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(300_000)
        for which in ("first", "second"):
            began = time.perf_counter()
            app = start(home)
            print(f"{which} start to first paint: {first_paint(page, began):.1f} s", flush=True)
            if which == "first":
                print(f"click to first point, engine cold: {click_to_first_point(page, 'linear', 1):.1f} s", flush=True)
                page.get_by_text("Test accuracy", exact=True).wait_for()
                for method in ("lora", "linear", "last"):
                    seconds = click_to_first_point(page, method, 2 if method != "last" else 20)
                    print(f"click to first point, engine warm, {method}: {seconds:.1f} s", flush=True)
                    page.get_by_text("Test accuracy", exact=True).wait_for()
            stop(app)
            time.sleep(3)
        browser.close()


if __name__ == "__main__":
    main()
