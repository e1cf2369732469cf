"""The main job in a real browser: launch LAST with clicks, watch it end, look at attention and heads, stop, reload,
bring one's own images.

Screenshots of every station are kept in screenshots/ (ignored by git).
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import own_app
import plotly
import pytest
from bad_uploads import good, zipped
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "screenshots"
TASKS = {"Handwritten digits": "digits", "letters": "upload"}  # as the address begins them
PATIENCE = 120_000  # milliseconds; two cores may be busy with something else

expect.set_options(timeout=PATIENCE)
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """The app's own home."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def address(home):
    """The app, started by its command on a free port."""
    with own_app.started(home) as port:
        yield f"http://127.0.0.1:{port}"
    assert "Traceback" not in (log := own_app.said(home)), log[-4000:]


@pytest.fixture(scope="module")
def page(address):
    from find_browser import find

    PICTURES.mkdir(exist_ok=True)
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find(), args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800}, base_url=address)
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
        page.on("console", lambda message: problems.extend(_problem(message)))
        yield page
        browser.close()
    assert not problems, problems


def _problem(message) -> list[str]:
    """Console errors, but for Streamlit's search for its server below a page and a reload's cut connections."""
    where = message.location.get("url", "")
    expected = "_stcore/" in where or "net::ERR_" in message.text
    return [f"console: {message.text} ({where})"] if message.type == "error" and not expected else []


def shot(page: Page, name: str) -> None:
    """A picture of what is there once nothing moves, which must hold no traceback."""
    expect(page.locator('[data-testid="stStatusWidgetRunningIcon"]')).to_have_count(0)
    page.wait_for_timeout(300)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=False)
    text = page.locator("body").inner_text()
    assert "Traceback" not in text and page.get_by_test_id("stException").count() == 0, text[:2000]


def launch(page: Page, method: str, task: str, epochs: int) -> int:
    """Chooses with clicks and launches; returns the number of the run."""
    page.goto(f"/launch?task=counting&method=linear&epochs={epochs}")
    page.get_by_role("combobox", name=re.compile("Task$")).click()
    page.get_by_role("option", name=task).click()
    page.wait_for_function("told => location.search.includes(told)", arg=f"task={TASKS[task]}")
    text = re.compile(rf"^\W*{method}$")
    page.get_by_role("radio").filter(has_text=text).first.click()
    # While the page draws itself anew, an old pill may still stand beside the new one.
    expect(page.get_by_role("radio", checked=True).filter(has_text=text)).to_have_count(1)
    expect(page.get_by_role("radio").filter(has_text=text)).to_have_count(1)
    page.wait_for_function("told => location.search.includes(told)", arg=f"method={method.lower()}")  # the server heard
    button = page.get_by_role("button", name="Launch", exact=True)
    expect(page.get_by_text(re.compile(r"Trains .* weights"))).to_be_visible(timeout=PATIENCE)
    shot(page, f"launch_{method.lower()}")
    button.click()
    page.wait_for_url(re.compile(r"/runs\?.*run=\d+"))
    return int(re.search(r"run=(\d+)", page.url)[1])


def test_home_has_three_doors_and_a_picture(page):
    page.goto("/")
    for door in ("Look at heads", "Launch a run", "See the memory"):
        expect(page.get_by_text(door)).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    shot(page, "home")


# Draws one figure twice on one parent, and cleans up after the first, as Streamlit does when an update is overtaken.
OVERTAKEN = """async plotly => {
  const { default: draw } = await import("/_stcore/bidi-components/headroom.figure/figure.js");
  const parent = document.body.appendChild(Object.assign(document.createElement("div"), { id: "overtaken" }));
  const figure = JSON.stringify({ data: [{ y: [1, 2] }], layout: {} });
  const data = { figure, name: "overtaken", says: "", clickable: false, plotly };
  const call = () => draw({ parentElement: parent, data: { ...data }, setTriggerValue() {} });
  const first = call();
  window.newest = call();
  first();
}"""


def test_a_figure_outlives_the_cleanup_of_an_overtaken_update(page):
    page.evaluate(OVERTAKEN, plotly.__version__)
    figure = page.locator("#overtaken .js-plotly-plot")
    expect(figure).to_have_count(1)
    page.evaluate("() => { window.held = document.querySelector('#overtaken'); held.remove(); newest(); }")
    page.wait_for_function("() => !held.querySelector('.headroom-figure')")  # and goes with its place


def test_a_lessons_prediction_is_made_by_keyboard_and_by_a_click(page):
    page.goto("/learn?lesson=what-a-vision-transformer-is&section=4")
    picture = page.locator(".st-key-predict_what-a-vision-transformer-is_looks .js-plotly-plot")
    commit = page.get_by_role("button", name="Commit", exact=True)
    expect(commit).to_be_disabled()
    expect(picture.locator(".heatmaplayer image")).to_be_attached()
    picture.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".st-key-predict_what-a-vision-transformer-is_looks [aria-live]")).to_have_text(
        "row 1, column 1"
    )
    page.keyboard.press("Enter")
    expect(page.get_by_text("You chose row 1, column 1.")).to_be_visible()
    expect(commit).to_be_enabled()
    box = picture.locator(".nsewdrag").bounding_box()
    page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 0.55 * box["height"])
    expect(page.get_by_text("You chose row 5, column 7.")).to_be_visible()
    commit.click()
    expect(page.get_by_text("You said “row 5, column 7”.")).to_be_visible()
    expect(page.locator(".st-key-walk_looked .js-plotly-plot")).to_be_visible()
    shot(page, "lesson")


@pytest.fixture(scope="module")
def letters(page, home, tmp_path_factory) -> int:
    """Images of one's own, from the drop to the launch page; the task `upload:letters` has so many for train and val.

    They are few: to look at their features or to train on them takes a second, where the digits take half a minute.
    """
    path = zipped(tmp_path_factory.mktemp("own"), good("abc", 8) | {"a/bad.png": b"x"}, "letters.zip")
    page.goto("/tasks")
    page.get_by_role("link", name="Bring your own images").click()
    page.locator("input[type=file]").first.set_input_files(path)
    expect(page.get_by_text("letters.zip: 24 images in 3 classes")).to_be_visible()
    expect(page.get_by_role("img", name="b/1.png")).to_be_visible()
    keep = page.get_by_role("button", name="Keep these images")
    expect(keep).to_be_disabled()
    page.get_by_text("Go on without it").click()
    expect(keep).to_be_enabled()
    keep.click()
    page.get_by_role("link", name="Launch a run with it").click()
    page.wait_for_url(re.compile("/launch.*task=upload"))
    expect(page.get_by_role("button", name="Launch", exact=True)).to_be_visible()
    return 24 - 5  # a fifth of them is for the test


def test_own_images_from_the_drop_to_the_launch_page(letters, home):
    assert (home / "images/letters/set.json").is_file()


def test_a_point_shows_its_image_under_the_pointer_and_by_keyboard(page, letters):
    page.goto("/tasks?task=upload:letters&view=features&by=pca")
    point = page.locator(".st-key-points_pretrained .scatterlayer .point").nth(letters // 2)
    expect(page.locator(".st-key-points_random .scatterlayer .point")).to_have_count(letters)
    expect(page.locator(".hover-card")).to_be_attached()
    box = point.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 60, y - 40)
    page.mouse.move(x, y, steps=8)
    card = page.locator(".hover-card")
    expect(card).to_be_visible()
    expect(card).to_have_text(re.compile(r"^[abc], (train|val) image \d+$"))
    shot(page, "tasks_features")
    page.mouse.move(5, 5)
    expect(card).to_be_hidden()
    page.locator(".st-key-points_random .js-plotly-plot").focus()
    page.keyboard.press("ArrowRight")
    expect(card).to_be_visible()
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()


def test_a_narrow_window_scrolls_nothing_sideways(page):
    page.set_viewport_size({"width": 1000, "height": 800})
    try:
        for path in ("/tasks", "/tasks?task=digits"):
            page.goto(path)
            expect(page.locator("img[alt]").nth(6)).to_be_visible()
            over = "() => { const e = document.querySelector('.stMain'); return e.scrollWidth - e.clientWidth }"
            assert page.evaluate(over) == 0
            shot(page, "tasks_narrow")
    finally:
        page.set_viewport_size({"width": 1280, "height": 800})


@pytest.fixture(scope="module")
def last_run(page) -> int:
    """A run of LAST on the digits, launched with clicks and finished."""
    clicked = time.perf_counter()
    run = launch(page, "LAST", "Handwritten digits", 3)
    expect(page.get_by_text("Test accuracy", exact=True)).to_be_visible(timeout=PATIENCE)
    print(f"\nlaunch to result, 3 epochs: {time.perf_counter() - clicked:.1f} s")
    return run


def test_last_on_digits_from_click_to_accuracy(page, last_run):
    accuracy = float(page.get_by_test_id("stMetricValue").first.inner_text())
    assert 0.5 < accuracy <= 1, "three epochs of LAST reach about 0.77; chance is 0.1"
    expect(page.locator(".js-plotly-plot")).to_have_count(5)
    shot(page, "run_finished")
    page.reload()
    expect(page.get_by_text("Test accuracy", exact=True)).to_be_visible(timeout=PATIENCE)
    assert float(page.get_by_test_id("stMetricValue").first.inner_text()) == accuracy
    assert f"run={last_run}" in page.url


def test_attention_of_the_run_and_a_clicked_patch(page, last_run):
    page.goto(f"/runs?run={last_run}")
    page.get_by_role("link", name="Attention").last.click()
    pictures = page.locator(".js-plotly-plot")
    expect(pictures.filter(has_text="Side network, module")).to_be_visible()
    before = page.url
    box = pictures.filter(has_text="Click the patch").bounding_box()
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
    page.wait_for_function("before => location.href !== before", arg=before)
    shot(page, "attention")


def test_heads_of_a_run_and_a_clicked_cell(page, letters):
    run = launch(page, "LoRA", "letters", 5)
    expect(page.get_by_text("Test accuracy", exact=True)).to_be_visible(timeout=PATIENCE)
    page.goto(f"/heads?run={run}")
    told = page.get_by_text(re.compile(r"Head \d+ of layer \d+: rank")).first
    expect(told).to_be_visible(timeout=PATIENCE)
    grid = page.locator(".st-key-heads_grid .js-plotly-plot")
    box = grid.locator(".nsewdrag").bounding_box()  # 8 layers of 8 heads, layer 1 at the bottom
    page.mouse.click(box["x"] + box["width"] * 2.5 / 8, box["y"] + box["height"] * 5.5 / 8)
    page.wait_for_function("() => location.search.includes('layer=3&head=3')")
    grid.focus()
    for key in ("Home", "ArrowRight", "ArrowDown"):  # the first cell is the uppermost layer's first head
        page.keyboard.press(key)
    expect(page.locator(".st-key-heads_grid [aria-live]")).to_have_text(
        re.compile(r"layer 7, head 2.*, rank \d+ of 64")
    )
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.search.includes('layer=7&head=2')")
    expect(told).to_contain_text("Head 2 of layer 7")
    shot(page, "heads")


def test_memory_is_told_by_component(page):
    page.goto(
        "/memory?features=computed"
    )  # cached, all images' features count, which on a small task outweigh the step
    expect(page.get_by_text(re.compile(r"LAST keeps .* of what full fine-tuning keeps"))).to_be_visible(
        timeout=PATIENCE
    )
    page.get_by_role("button", name="Measure one real step").click()
    expect(page.get_by_text(re.compile(r"measured", re.I)).first).to_be_visible(timeout=PATIENCE)
    shot(page, "memory")


def test_a_race_settles_and_leads_to_its_runs(page):
    page.goto("/launch?method=linear&task=digits&epochs=2&race=lr&race.lr=0.01,%200.0001")
    page.get_by_role("button", name="Launch 2 runs").click()
    page.wait_for_url(re.compile(r"/runs\?.*race=\d+"))
    expect(page.get_by_text("2 runs, all finished")).to_be_visible(timeout=PATIENCE)
    rows = page.locator("[class*='st-key-run_lane_']")
    expect(rows.first).to_contain_text("learning rate 0.01")  # a hundredth of it learns nothing in two epochs
    shot(page, "race_finished")
    rows.last.locator("button").first.click()
    expect(page.get_by_text("Test accuracy", exact=True)).to_be_visible(timeout=PATIENCE)
    page.locator(".st-key-to_race button").first.click()
    expect(page.get_by_text("2 runs, all finished")).to_be_visible(timeout=PATIENCE)


# Figures as they are now, and how often each is drawn.
WATCH = """() => {
  window.watched = [...document.querySelectorAll(".js-plotly-plot")].map(plot => ({ plot, drawn: 0 }));
  watched.forEach(one => one.plot.on("plotly_afterplot", () => { one.drawn += 1; }));
}"""


def nothing_blinks(page: Page) -> None:
    """While a run goes on, its figures are drawn again and again, in the same place and with the reader's zoom."""
    plots = page.locator(".js-plotly-plot")
    expect(plots).to_have_count(5)
    loss = page.locator("[class*='st-key-loss_'] .js-plotly-plot")
    box = loss.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 130, box["y"] + 130, steps=5)
    page.mouse.up()
    shown = "plot => plot._fullLayout.xaxis.range.map(Math.round)"
    page.wait_for_function(
        "() => !document.querySelector('[class*=st-key-loss_] .js-plotly-plot').layout.xaxis.autorange"
    )
    zoomed = loss.evaluate(shown)
    page.evaluate(WATCH)
    page.wait_for_function("() => watched.filter(one => one.drawn >= 2).length >= 3")  # memory is traced now and then
    assert page.evaluate("() => watched.every(one => one.plot.isConnected)") and loss.evaluate(shown) == zoomed
    expect(plots).to_have_count(5)


def test_a_run_is_stopped_and_stays_stopped_after_a_reload(page):
    run = launch(page, "LoRA", "Handwritten digits", 200)
    expect(page.get_by_text(re.compile(r"Epoch 1 of 200"))).to_be_visible(timeout=PATIENCE)
    page.reload()
    expect(page.get_by_text(re.compile(r"Epoch \d+ of 200"))).to_be_visible(timeout=PATIENCE)
    shot(page, "run_live")
    nothing_blinks(page)
    page.locator(".st-key-stop button").first.click()  # Streamlit has a Stop of its own while a page runs
    expect(page.get_by_text(re.compile(r"Stopped at step"))).to_be_visible(timeout=PATIENCE)
    page.reload()
    expect(page.get_by_text(re.compile(r"Stopped at step"))).to_be_visible(timeout=PATIENCE)
    assert f"run={run}" in page.url
    shot(page, "run_stopped")


def test_a_lesson_is_walked_and_printed(page):
    """Each section waits for a prediction; on paper neither navigation nor controls are left."""
    page.goto("/learn?lesson=serial-lora")
    expect(page.locator(".headroom-figure .main-svg").first).to_be_visible()
    for number in (2, 3, 4):
        on = page.locator(f'a[href$="section={number}"]').filter(has_text=re.compile("Next$"))
        on.press("Enter")  # while the reveal comes in the link moves away from under a mouse
        expect(page.get_by_text(f"Lesson 7, {number} of 4")).to_be_visible()
        expect(page.get_by_text("Commit to a prediction")).to_be_visible()
        if number < 4:  # a slider counts once it was moved
            page.get_by_role("slider").first.press("ArrowRight")
        else:
            page.get_by_test_id("stRadio").get_by_text("Serial LoRA", exact=True).click()
        page.get_by_role("button", name="Commit").click()
        expect(page.get_by_role("button", name="Predict again")).to_be_visible()
        expect(page.get_by_text("Commit to a prediction")).to_have_count(0)
    shot(page, "lesson")
    page.goto("/learn?lesson=serial-lora&print=teacher")
    expect(page.get_by_text("Common misunderstandings")).to_be_visible()
    page.emulate_media(media="print")
    expect(page.get_by_test_id("stHeader")).to_be_hidden()
    expect(page.get_by_test_id("stSlider").filter(visible=True)).to_have_count(0)
    page.emulate_media(media="screen")
