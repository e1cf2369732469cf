"""Exports of a run: each loaded by the tool that it is for, and compared with the model that was trained."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from backbones import images, nudge, small
from trainings import cut, drain
from typer.testing import CliRunner

import peftcore as pc
from peftcore import errors
from peftcore.cli.commands import app
from peftcore.cli.exports import EXPORTS, Kind, Source, as_bytes, kinds, report
from peftcore.figures.words import human_count
from peftcore.store import Store, results
from peftcore.store.record import number_of

ROOT = Path(__file__).resolve().parents[2]
SUMMARY = ("test_accuracy", "val_accuracy", "seconds", "memory", "selected_epoch")
# Lets timm be imported beside a torchvision of another build, as on some machines; it does nothing else.
GUARD = "import runpy, sys; from peftcore.backbone.torchvision_guard import guard_torchvision; guard_torchvision(); "


def keep(store: Store, spec: pc.RunSpec, seen: list) -> int:
    """A run in the store, as the engine writes it."""
    run, told = store.create_run(spec.to_dict()), [event.to_dict() for event in seen]
    store.set_status(run, "running")
    store.append(run, told, {"adapter": seen[-1].blob, results.ARTIFACT: results.pack(seen[-1].predictions)})
    store.set_status(run, "finished", summary={name: told[-1][name] for name in SUMMARY})
    return run


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def trained(store) -> dict[str, tuple[int, pc.TunedModel]]:
    """By method, the number of a run on a few images, and its model."""
    from peftcore.train import loop

    runs, whole = {}, pc.load_task("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_task", lambda name: cut(whole, 32, 16, 16))
        for method in ("lora", "last", "bitfit", "heart_lora"):
            more = {"name": method} | ({"warmup_epochs": 1} if method == "heart_lora" else {})
            spec = pc.RunSpec(method=more, epochs=2, batch_size=16, lr=0.01)
            seen, model = drain(loop.finetune(spec))
            runs[method] = keep(store, spec, seen), model.eval()
    return runs


@pytest.fixture
def home(store, monkeypatch) -> None:
    """`pc.export` and the commands read this module's store."""
    monkeypatch.setenv("HEADROOM_HOME", str(store.folder))


def python(*words: str, cwd: Path = ROOT, timeout: float = 300) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def off(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference of logits, relative to the largest logit where that is above 1."""
    return float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1))


def test_kinds_are_found_by_their_files():
    assert {"adapter", "merged", "peft", "onnx", "script", "notebook", "plain", "report", "events"} <= set(
        EXPORTS.names()
    )
    assert all(
        kind.title and kind.purpose.endswith((".", ")", "`")) and kind.makes in ("file", "folder") for kind in kinds()
    )


def test_what_cannot_be_exported_says_why(trained, store, tmp_path, home):
    last = trained["last"][0]
    for kind, match in (
        ("merged", "cannot be folded"),
        ("peft", "not a low-rank update"),
        ("onx", "Did you mean 'onnx'"),
    ):
        with pytest.raises(errors.HeadroomError, match=match):
            pc.export(last, kind, tmp_path)
    with pytest.raises(errors.CannotExport, match="written for LoRA, Serial LoRA, LAST"):
        pc.export(trained["bitfit"][0], "plain", tmp_path)
    with pytest.raises(errors.UnknownName, match="neither the number of a run nor the folder"):
        pc.export("nothing-here", "onnx", tmp_path)
    with pytest.raises(errors.InvalidSetting, match="takes the number of a run"):
        pc.export(1.5, "onnx", tmp_path)
    queued = store.create_run(pc.RunSpec().to_dict())
    for kind, match in (("onnx", "queued, so there is no trained model"), ("report", "has not begun")):
        with pytest.raises(errors.CannotExport, match=match):
            pc.export(queued, kind, tmp_path)
    model = pc.attach(small("vit"), pc.make_method("lora"), 3)
    with pytest.raises(errors.CannotExport, match="not known how lora was trained"):
        pc.export(model, "script", tmp_path)
    with pytest.raises(errors.CannotExport, match="cannot be written"):
        pc.export(model, "merged", "/proc/nowhere/x.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["lora", "last"])
def test_the_adapter_comes_back_to_the_bit(method, trained, tmp_path, home):
    run, model = trained[method]
    folder = pc.export(run, "adapter", tmp_path)
    assert folder == tmp_path / f"run-{run}-adapter"
    x = images(model.backbone)
    assert torch.equal(pc.load_adapter(folder)(x), model(x))
    again = pc.export(folder, "adapter", tmp_path / "again.zip")  # from a folder, and zipped
    assert {Path(name).name for name in zipfile.ZipFile(again).namelist()} == {"adapter.json", "adapter.safetensors"}


FRESH = {
    "merged": "m = timm.create_model({name!r}, num_classes=10, checkpoint_path={path!r})",
    "peft": "from peft import PeftModel; "
    "m = PeftModel.from_pretrained(timm.create_model({name!r}, num_classes=10, pretrained=True), {path!r})",
}


@pytest.mark.parametrize("kind", FRESH)
def test_the_line_that_is_told_is_the_one_that_works(kind):
    told = " ".join(EXPORTS.load(kind).PURPOSE.split())
    assert kind == "merged" or "pretrained=True" in told, "PEFT's file has no weights of the backbone"
    assert "img_size" in told


@pytest.fixture(scope="module")
def loaded_by_others(trained, store, tmp_path_factory) -> dict[str, torch.Tensor]:
    """By kind of export, the logits (3, 10) that its own tool computes in a process without this one's models."""
    run, model = trained["lora"]
    folder = tmp_path_factory.mktemp("fresh")
    torch.save(images(model.backbone, 3), folder / "x.pt")
    # importing peftcore makes timm know vit_micro by name; the rest is theirs
    code = "import peftcore, timm, torch; torch.set_grad_enabled(False); x, y = torch.load('x.pt'), {}\n"
    for kind, load in FRESH.items():
        path = pc.export(Source.of(run, store), kind, folder)
        code += f"{load.format(name=model.backbone.name, path=str(path))}; y[{kind!r}] = m.eval()(x)\n"
    python("-c", code + "torch.save(y, 'y.pt')", cwd=folder)
    return torch.load(folder / "y.pt")


@pytest.mark.parametrize("kind", FRESH)
def test_timm_and_hugging_face_peft_load_it_in_a_fresh_process(kind, trained, loaded_by_others):
    _, model = trained["lora"]
    x = images(model.backbone, 3)
    difference = off(model(x).detach(), loaded_by_others[kind])
    with torch.no_grad():
        untuned = model.head(pc.load_backbone(model.backbone.name).pooled(x))
    assert off(model(x).detach(), untuned) > 1e-2, "the adapter must matter"
    print(f"{kind}: largest difference of logits {difference:.1e}")
    assert difference < 1e-5


ONNX = [("vit", name) for name in ("lora", "last", "lst", "side_tuning", "vpt", "adapter", "linear")]
ONNX += [("swin", "last"), ("swin", "serial_lora")]


@pytest.mark.parametrize("family, method", ONNX)
def test_onnx_computes_the_same_at_any_batch_size(family, method, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = nudge(pc.attach(small(family), pc.make_method(method), 3), 0.05).eval()
    session = runtime.InferenceSession(str(pc.export(model, "onnx", tmp_path)), providers=["CPUExecutionProvider"])
    for batch in (1, 3, 19):
        x = images(small(family), batch)
        theirs = torch.tensor(session.run(None, {"images": x.numpy()})[0])
        difference = off(model(x).detach(), theirs)
        print(f"{family} {method}, batch of {batch}: {difference:.1e}")
        assert theirs.shape == (batch, 3) and difference < 1e-5


def test_onnx_of_a_run_knows_its_classes(trained, tmp_path, home):
    runtime = pytest.importorskip("onnxruntime")
    run, model = trained["last"]
    path = pc.export(run, "onnx", tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    about = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
    assert about["classes"] == list("0123456789") and about["mean"] == [0.5] * 3 and about["spec"]["task"] == "digits"
    x = images(model.backbone, 3)
    assert off(model(x).detach(), torch.tensor(session.run(None, {"images": x.numpy()})[0])) < 1e-5


def test_a_saved_folder_keeps_the_names_of_the_classes(trained, tmp_path, home):
    folder = pc.export(trained["last"][0], "adapter", tmp_path)
    assert Source.of(folder).classes == list("0123456789")


@pytest.mark.parametrize("words", [("\N{SUPERSCRIPT TWO}", "."), ("1", "~nobody-of-this-name/z")])
def test_what_names_no_run_and_no_place_is_a_sentence(words, trained, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        pc.export(words[0], "script", words[1])
    except errors.HeadroomError as error:
        assert words[0] in str(error)


def test_a_number_is_a_run_whatever_lies_beside(trained, home, tmp_path, monkeypatch):
    run = trained["last"][0]
    (tmp_path / str(run)).mkdir()
    monkeypatch.chdir(tmp_path)
    assert Source.of(str(run)).name == f"run-{run}" == Source.of(f"run-{run}").name
    assert number_of(str(run)) == number_of(f"run-{run}") == run and number_of("\N{SUPERSCRIPT TWO}") is None
    (tmp_path / f"run-{run}").mkdir()
    assert number_of(f"run-{run}") is None, "a folder that a person named so"


@pytest.mark.parametrize(
    ("kind", "to", "name"), [("merged", "out", "out.safetensors"), ("script", "x.zip", "x.zip.py")]
)
def test_a_file_is_named_as_what_it_is(trained, home, tmp_path, kind, to, name):
    assert pc.export(trained["lora"][0], kind, tmp_path / to) == tmp_path / name


@pytest.mark.parametrize("kind", ["adapter", "script"])
def test_an_export_that_breaks_off_leaves_the_older_one(trained, home, tmp_path, monkeypatch, kind):
    to = pc.export(trained["lora"][0], kind, tmp_path)
    files = lambda: {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}  # noqa: E731
    before, copied = files(), []

    def fills_the_disk(file, part):
        copied.append(file)
        if len(copied) == len(before):
            raise OSError(28, "No space left on device")
        Path(part).write_text("cut off")

    monkeypatch.setattr("shutil.copyfile", fills_the_disk)
    with pytest.raises(errors.CannotExport, match="No space left"):
        pc.export(trained["last"][0], kind, to)
    assert files() == before and len(copied) == len(before)


def test_a_folder_of_peft_says_what_can_be_made_of_it(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "pc.load_backbone" in (Kind.of("merged").why_not(Source.of(tmp_path)) or "")


def test_a_spec_without_a_method_is_damage(tmp_path):
    (tmp_path / "adapter.json").write_text(json.dumps({"spec": {"task": "digits", "epochs": "x"}}))
    with pytest.raises(errors.BadAdapter, match="method"):
        Source.of(tmp_path)


def test_a_report_counts_weights_after_the_cut_and_tells_no_sealed_result(trained, store, tmp_path, home):
    run = trained["heart_lora"][0]
    counts = store.last_event(run, "heads_cut")["parameters"]
    assert counts["method"] < store.last_event(run, "started")["parameters"]["method"]
    text = pc.export(run, "report", tmp_path).read_text()
    assert human_count(counts["method"] + counts["head"]) in text
    source = Source.of(run, store)
    source.summary = {}
    assert "until the teacher reveals it" in report._result(source)


def test_onnx_says_what_to_install(monkeypatch):
    from peftcore.cli.exports import onnx

    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    model = pc.attach(small("vit"), pc.make_method("linear"), 3)
    assert "pip install onnx onnxruntime" in str(onnx.why_not(Source.of(model)))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder of images: train, val and test, of three digits."""
    from PIL import Image

    folder, whole = tmp_path_factory.mktemp("pictures"), pc.load_task("digits")
    for name, count in (("train", 120), ("val", 40), ("test", 80)):
        part = getattr(whole, name)
        for number in range(count):
            if (label := int(part.labels[number])) < 3:
                file = folder / name / "abc"[label] / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(part.images[number]).save(file)
    return folder


def test_script_and_notebook_reach_the_same_accuracy(store, pictures, tmp_path, home):
    """One epoch on a folder of images, here and by the script in a process of its own."""
    spec = pc.RunSpec(method={"name": "last", "rank": 4}, task=f"folder:{pictures}", epochs=1, batch_size=8, seed=3)
    seen, _ = drain(pc.train.finetune(spec))
    run = keep(store, spec, seen)
    path = pc.export(run, "script", tmp_path)
    told = python(str(path), cwd=tmp_path)
    found = dict(re.findall(r"^(test accuracy|recorded): +([\d.]+)$", told, re.M))
    assert found["test accuracy"] == found["recorded"] == f"{seen[-1].test_accuracy:.4f}"
    assert torch.equal(
        pc.load_adapter(tmp_path / f"run-{run}-again").head.weight, Source.of(run, store).model.head.weight
    )
    notebook = json.loads(pc.export(run, "notebook", tmp_path).read_text())
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "\n\n".join(code[:-1]) in path.read_text() and notebook["nbformat"] == 4
    assert all({"id", "metadata", "source"} <= cell.keys() for cell in notebook["cells"])
    names: dict[str, object] = {"result": pc.train.Result.of(spec, seen[-1], None)}
    exec(compile(code[-1], "curves", "exec"), names)


PLAIN = {"lora": 0.01, "serial_lora": 0.01, "last": 0.005}
SEEN = 240  # training images
APART = 0.12  # in accuracy, at most, of 200 test images after two epochs: other random numbers, another draw of images


def plain_spec(method: str) -> pc.RunSpec:
    return pc.RunSpec(method=method, epochs=2, batch_size=16, lr=PLAIN[method], clip=1.0)


@pytest.fixture(scope="module")
def plain_run(pictures, tmp_path_factory) -> dict[str, str]:
    """What each plain script prints, with globals and a folder of its own; one process imports torch for all."""
    on_folder = pc.RunSpec(method={"name": "last", "qk_norm": True}, task=f"folder:{pictures}", epochs=1, batch_size=8)
    code = f"{GUARD}import io, json; from contextlib import chdir, redirect_stdout\nprinted = {{}}\n"
    for name, spec in {**{name: plain_spec(name) for name in PLAIN}, "folder": on_folder}.items():
        folder = tmp_path_factory.mktemp(name)
        path = pc.export(pc.train.Result(spec, 0.5, 0.5, {}, 1.0, None, None, 1), "plain", folder) / "train.py"
        text = path.read_text()
        assert "peftcore" not in text and len(text.splitlines()) < 120
        assert max(map(len, text.splitlines())) <= 120
        if name != "folder":
            short = text.replace("train_size=800, test_size=797", f"train_size={SEEN}, test_size=200")
            assert short != text
            path.write_text(short)
        code += f"sys.argv[1:] = {[str(pictures)] if name == 'folder' else []!r}\n"
        code += f"with chdir({str(folder)!r}), redirect_stdout(io.StringIO()) as out:\n"
        code += f"    runpy.run_path({str(path)!r}, run_name='__main__')\nprinted[{name!r}] = out.getvalue()\n"
    return json.loads(python("-c", code + "print(json.dumps(printed))", cwd=folder))


@pytest.mark.parametrize("method", PLAIN)
def test_the_plain_script_needs_no_headroom_and_learns_as_much(method, plain_run, monkeypatch):
    from peftcore.train import loop

    told, whole = plain_run[method], pc.load_task("digits")
    monkeypatch.setattr(loop, "load_task", lambda name: cut(whole, SEEN, 16, 200))
    ours = pc.run(plain_spec(method))
    counts = ours.model.parameter_counts()
    assert f"trained weights: {counts['method'] + counts['head']:,}\n" in told
    theirs = float(told.rpartition("test accuracy: ")[2])
    print(f"{method}: {theirs:.3f} in plain timm, {ours.test_accuracy:.3f} here")
    assert abs(theirs - ours.test_accuracy) < APART


def test_the_plain_script_trains_on_a_folder_of_images(plain_run):
    told = plain_run["folder"]
    assert 0 <= float(told.rpartition("test accuracy: ")[2]) <= 1 and "epoch 1: loss" in told


def test_the_plain_script_for_a_folder_of_images_is_python(tmp_path):
    spec = pc.RunSpec(method={"name": "last", "qk_norm": True}, task="folder:/x", backbone="vit_small_patch16_224")
    path = pc.export(pc.train.Result(spec, 0.5, 0.5, {}, 1.0, None, None, 1), "plain", tmp_path) / "train.py"
    text = path.read_text()
    compile(text, "train.py", "exec")
    assert "timm.create_model('vit_small_patch16_224', pretrained=True, num_classes=0)" in text
    assert "cosine attention" in text and "sys.argv[1]" in text and len(text.splitlines()) < 120
    assert not list(path.parent.glob("*.safetensors"))
    for other in (spec.replace(backbone="swin_micro"), spec.replace(augmentation="light")):
        assert EXPORTS.load("plain").why_not(Source("x", other.to_dict()))


@pytest.mark.parametrize("method", ["lora", "last", "heart_lora", "bitfit"])
def test_the_report_is_one_file_with_live_figures(method, trained, tmp_path, home):
    run, _ = trained[method]
    text = pc.export(run, "report", tmp_path / "report.html").read_text()
    assert "not drawn" not in text and text.count("Plotly.newPlot(") >= 8 + (method != "bitfit")
    assert len(re.findall(r"<script[^>]*\bsrc=", text)) == 0 and "95 %: " in text and "pc.RunSpec(" in text


def test_what_a_person_typed_is_never_markup_in_a_report(store, trained, tmp_path):
    run = trained["bitfit"][0]
    record = store.run(run)
    wicked = "<script>alert(1)</script>"
    record = dataclasses.replace(record, spec=record.spec | {"task": wicked})
    text = pc.export(Source.of(record, store), "report", tmp_path).read_text()
    assert wicked not in text and "&lt;script&gt;alert" in text


def test_the_report_opens_with_the_network_off(trained, tmp_path, home):
    """In a browser that may not reach anything but the file."""
    browsers = pytest.importorskip("playwright.sync_api")
    from find_browser import find

    if not find():
        pytest.skip("no browser here")
    path = pc.export(trained["lora"][0], "report", tmp_path)
    asked: list[str] = []
    with browsers.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: asked.append(f"error: {error}"))
        page.goto(path.as_uri())
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length >= 15")
        drawn = page.locator(".js-plotly-plot").count()
        if where := os.environ.get("REPORT_PICTURE"):
            page.screenshot(path=where, full_page=True)
        browser.close()
    assert drawn >= 10 and asked == [path.as_uri()]


def test_events_as_a_table(trained, tmp_path, home):
    with pc.export(trained["lora"][0], "events", tmp_path).open() as file:
        rows = list(csv.DictReader(file))
    steps = [row for row in rows if row["kind"] == "step"]
    assert [int(row["step"]) for row in steps] == [1, 2, 3, 4] and all(float(row["loss"]) > 0 for row in steps)
    assert [row["split"] for row in rows if row["kind"] == "evaluation"] == ["val", "val", "test"]
    assert any(int(row["memory_activations"] or 0) > 0 for row in steps)


def test_steps_that_a_resumed_run_did_again_count_once(store, trained, tmp_path):
    from peftcore.cli.exports.events import rows

    run = trained["bitfit"][0]
    again = [event for event in store.events(run, kinds="step") if event["step"] == 2]
    before = len(rows(Source.of(run, store)))
    store.append(run, [{k: v for k, v in again[0].items() if k not in ("seq", "time")}])
    assert len(rows(Source.of(run, store))) == before


def test_tensorboard_reads_the_curves(trained, store, tmp_path, home):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = trained["lora"][0]
    folder = pc.export(run, "tensorboard", tmp_path)
    seen = EventAccumulator(str(folder / f"run-{run}"))
    seen.Reload()
    losses = [event["loss"] for event in store.events(run, kinds="step")]
    assert [e.value for e in seen.Scalars("train/loss")] == pytest.approx(losses)
    assert [e.step for e in seen.Scalars("val/accuracy")] == [2, 4]


def test_an_offline_run_of_weights_and_biases(trained, tmp_path, home):
    pytest.importorskip("wandb")
    folder = pc.export(trained["lora"][0], "wandb", tmp_path)
    assert list(folder.glob("wandb/offline-run-*/run-*.wandb"))


def test_a_project_of_trackio_has_the_curves(trained, store, tmp_path, home):
    pytest.importorskip("trackio")
    run = trained["lora"][0]
    folder = pc.export(run, "trackio", tmp_path)
    read = (
        "import json, trackio\n"
        "from trackio.sqlite_storage import SQLiteStorage\n"
        "[run] = trackio.Api().runs('headroom')\n"
        "print(json.dumps([run.name, run.config, SQLiteStorage.get_logs('headroom', run.name)], default=str))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", read], env={**os.environ, "TRACKIO_DIR": str(folder)}, capture_output=True, text=True
    )
    name, config, rows = json.loads(answer.stdout.splitlines()[-1])
    assert name == f"run-{run}" and config["method"] == store.run(run).spec["method"]
    kept = [(event["step"], event["loss"]) for event in store.events(run, kinds="step")]
    assert [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row] == kept
    assert rows[-1]["final/test_accuracy"] == store.run(run).summary["test_accuracy"]


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "trackio"])
def test_a_logger_that_is_not_installed_says_how_it_is(kind, trained, store, monkeypatch):
    from peftcore.cli.exports import _logger

    source = Source.of(trained["lora"][0], store)
    [one] = [each for each in kinds() if each.name == kind]
    monkeypatch.setattr(_logger, "find_spec", lambda name: None)
    assert one.why_not(source) == f"Not installed: {kind}. Install with: pip install {kind}"
    monkeypatch.setattr(_logger, "find_spec", lambda name: object())
    assert one.why_not(source) is None
    assert "has not begun" in one.why_not(Source.of(store.create_run(source.settings), store))


def test_every_kind_is_one_file_to_download(trained, store):
    for kind in kinds():
        if kind.why_not(Source.of(trained["lora"][0], store)) is None:
            name, data = as_bytes(Source.of(trained["lora"][0], store), kind.name)
            assert name.startswith("run-") and len(data) > 100


def test_commands(trained, tmp_path, home):
    run = str(trained["lora"][0])

    def peftcore(*words: str) -> str:  # in this process: a new one would import torch again
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        return done.stdout

    answer = json.loads(peftcore("export", run, "--as", "events", "--to", str(tmp_path / "e.csv"), "--json"))
    assert Path(answer["path"]).stat().st_size == answer["bytes"] > 0
    listed = json.loads(peftcore("export", run, "--json"))
    assert {row["name"] for row in listed} == set(EXPORTS.names())
    assert "Written" in peftcore("report", run, "--to", str(tmp_path / "r.html"))
