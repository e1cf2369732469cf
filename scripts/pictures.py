"""Takes the README's pictures of the app, into docs/pictures, from the recorded examples.

    python scripts/pictures.py                 # all of them
    python scripts/pictures.py heads memory    # these

The app runs on a home of its own, in which the recorded examples are runs; the user's runs are neither read nor shown.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from find_browser import find
from measure_app import ADDRESS, first_paint, start, stop
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from peftcore.store import Store

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
EXAMPLES = ("heart-orientation", "lora-digits", "last-digits")  # of assets/gallery; the Runs page shows the last one
PICTURES = {  # name: the page's address, and pixels to scroll down
    "tasks": ("tasks", 0),
    "launch": ("launch?backbone=swin_micro&method=heart_lora&task=orientation", 0),
    "runs": ("runs", 0),
    "runs-memory": ("runs", 740),
    "heads": ("heads", 0),
    "attention": ("attention", 0),
    "memory": ("memory?backbone=vit_base_patch16_224&features=computed", 0),
}
WORKING = "[data-testid=stStatusWidget], [data-testid=stSkeleton]"
QUIET = 3.0  # seconds without a rerun after which a page has settled


def fill(home: str) -> None:
    """Writes the recorded examples as runs into the store of a home."""
    store = Store(home)
    for example in EXAMPLES:
        folder = ROOT / "assets" / "gallery" / example
        recorded = json.loads((folder / "run.json").read_text())
        run = store.create_run(recorded["spec"])
        store.set_status(run, "running")
        adapter = (folder / "adapter.safetensors").read_bytes()
        store.append(run, recorded["events"], {"adapter": adapter})
        store.set_status(run, "finished", summary=recorded["summary"])


def picture(page: Page, name: str) -> bytes:
    """A page as it looks once it has settled, as WebP."""
    address, down = PICTURES[name]
    page.goto(f"{ADDRESS}/{address}")
    page.get_by_role("heading", level=1).wait_for()
    settle(page)
    if down:
        page.mouse.move(900, 500)
        page.mouse.wheel(0, down)
        settle(page)
    out = io.BytesIO()
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(out, "WEBP", quality=80, method=6)
    return out.getvalue()


def settle(page: Page) -> None:
    """Waits until nothing has moved for a while."""
    since = time.monotonic()
    while time.monotonic() - since < QUIET:
        page.wait_for_timeout(200)
        if page.locator(WORKING).count():
            since = time.monotonic()


def main() -> None:
    names = sys.argv[1:] or list(PICTURES)
    if unknown := set(names) - set(PICTURES):
        sys.exit(f"No picture is called {', '.join(unknown)}; there are {', '.join(PICTURES)}.")
    home = tempfile.mkdtemp()
    fill(home)
    app = start(home)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 800}, device_scale_factor=1.5)
            page.set_default_timeout(300_000)
            first_paint(page, time.perf_counter())
            for name in names:
                data = picture(page, name)
                (FOLDER / f"{name}.webp").write_bytes(data)
                print(f"{name}: {len(data) / 1000:.0f} kB", flush=True)
            browser.close()
    finally:
        stop(app)


if __name__ == "__main__":
    main()
