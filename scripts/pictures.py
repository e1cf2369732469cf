"""Takes the README's pictures of the app, into docs/pictures, from real runs and the recorded examples.

    python scripts/pictures.py                 # all of them; trains three short runs first, a few minutes on two cores
    python scripts/pictures.py heads memory    # these

The app runs on an empty home of its own; the user's runs are neither read nor shown.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

from find_browser import find
from measure_app import ADDRESS, click_to_first_point, first_paint, start, stop
from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
PICTURES = {  # name: the page's address
    "tasks": "tasks",
    "launch": "launch?backbone=swin_micro&method=heart_lora&task=orientation",
    "runs": "runs",
    "heads": "heads",
    "attention": "attention",
    "memory": "memory",
}
RUNS = {"linear": 5, "lora": 8, "last": 20}  # epochs on digits of the runs on the Runs page; the last one is shown
WORKING = "[data-testid=stStatusWidget], [data-testid=stSkeleton]"
QUIET = 3.0  # seconds without a rerun after which a page has settled


def train(page: Page) -> None:
    """The runs of the Runs page, one after the other."""
    for method, epochs in RUNS.items():
        click_to_first_point(page, method, epochs)
        page.get_by_text("Test accuracy", exact=True).first.wait_for()


def picture(page: Page, name: str) -> bytes:
    """A page as it looks once it has settled, as WebP."""
    page.goto(f"{ADDRESS}/{PICTURES[name]}")
    page.get_by_role("heading", level=1).wait_for()
    since = time.monotonic()
    while time.monotonic() - since < QUIET:
        page.wait_for_timeout(200)
        if page.locator(WORKING).count():
            since = time.monotonic()
    out = io.BytesIO()
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(out, "WEBP", quality=80, method=6)
    return out.getvalue()


def main() -> None:
    names = sys.argv[1:] or list(PICTURES)
    if unknown := set(names) - set(PICTURES):
        sys.exit(f"No picture is called {', '.join(unknown)}; there are {', '.join(PICTURES)}.")
    app = start(tempfile.mkdtemp())
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 800}, device_scale_factor=1.5)
            page.set_default_timeout(300_000)
            first_paint(page, time.perf_counter())
            if "runs" in names:
                train(page)
            for name in names:
                data = picture(page, name)
                (FOLDER / f"{name}.webp").write_bytes(data)
                print(f"{name}: {len(data) / 1000:.0f} kB", flush=True)
            browser.close()
    finally:
        stop(app)


if __name__ == "__main__":
    main()
