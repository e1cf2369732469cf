"""The command line: JSON for machines, clear sentences for mistakes, nothing lost."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image

from peftcore.cli.options import choices

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--epochs", "1", "--no-pretrained", "--json")


def peftcore(*words: str) -> subprocess.CompletedProcess:
    """`python -m peftcore` with these words, in this process: a new one would import torch again."""
    from peftcore.__main__ import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with mock.patch.object(sys, "argv", ["peftcore", *words]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def test_the_command_is_the_package():
    done = subprocess.run(
        [sys.executable, "-m", "peftcore", "tasks", "--json"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == peftcore("tasks", "--json").stdout and done.returncode == 0


@pytest.fixture
def six_images(tmp_path):
    """A task of two classes with two images in each split: what these tests say holds whatever is learnt."""
    folder = tmp_path / "six"
    folder.mkdir()
    for split in ("train800", "val200", "test"):
        for i in range(2):
            Image.new("RGB", (40, 30), ((200, 9 * len(split), 0), (0, 9 * len(split), 200))[i]).save(
                folder / f"{split}{i}.png"
            )
        (folder / f"{split}.txt").write_text(f"{split}0.png 0\n{split}1.png 1\n")
    return f"vtab:{folder}"


@pytest.mark.parametrize("command", ["methods", "tasks", "backbones"])
def test_lists_are_json(command):
    answer = json.loads(peftcore(command, "--json").stdout)
    assert len(answer) >= 3


def test_a_run_is_json_and_its_adapter_is_read_by_heads(tmp_path, six_images):
    words = (
        "run",
        "--task",
        six_images,
        "--method",
        "lora",
        "--set",
        "rank=2",
        "--epochs",
        "1",
        "--no-pretrained",
        "--json",
    )
    answer = json.loads(peftcore(*words, "--save", str(tmp_path / "a")).stdout)
    assert 0 <= answer["test_accuracy"] <= 1 and answer["spec"]["method"]["rank"] == 2
    scores = json.loads(peftcore("heads", str(tmp_path / "a"), "--json").stdout)
    assert len(scores["values"]) == 8 and len(scores["values"][0][0]) == 8


@pytest.mark.parametrize(
    "text, values",
    [
        ("rank=4,8", [4, 8]),
        ("projections=q+v,q", [["q", "v"], "q"]),
        ('projections=[["q", "v"], ["q"]]', [["q", "v"], ["q"]]),
        ("lr=1e-3,1e+0", [0.001, 1.0]),
        ("weights=a+b,c", ["a+b", "c"]),
        ("cache-features=auto,false", ["auto", False]),
    ],
)
def test_values_to_vary(text, values):
    name = text.partition("=")[0].replace("-", "_")
    assert choices([text]) == {name: values}


def test_a_race_of_lists_is_ranked(six_images):
    """Through the command itself: lists on the command line, and what varied in the table."""
    words = ("race", "--method", "lora", "--set", "rank=2", "--vary", "projections=q+v,q", "--epochs", "1", "--json")
    answer = json.loads(peftcore(*words, "--task", six_images, "--no-pretrained").stdout)
    assert sorted(tuple(r["spec"]["method"]["projections"]) for r in answer) == [("q",), ("q", "v")]
    assert answer[0]["val_accuracy"] >= answer[1]["val_accuracy"]


@pytest.mark.parametrize(
    "words, message",
    [
        (("run", "--method", "lorra"), "Did you mean 'lora'"),
        (("run", "--method", "[/red]"), "There is no method '[/red]'"),
        (("run", "--set", "rank"), "NAME=VALUE"),
        (("run", "--cache-features", "x"), "'auto' or 'disk' or a valid boolean"),
        (("race", "--vary", "rank"), "NAME=V1,V2"),
        (("race", "--vary", "rank=4,0"), "rank = 0 is not possible"),
        (("run", "--save", "/proc/nowhere"), "cannot be written"),
        (("heads", "/nowhere"), "has no adapter.json"),
        (("race", "--vary", "rank"), "such as --vary rank=4,8"),
        (("race", "--method", "lora", "--vary", "projections=q+v,x"), "'q', 'k', 'v', 'proj', 'fc1' or 'fc2'"),
        (("backbones", "vit_microo"), "Did you mean 'vit_micro'"),
    ],
)
def test_a_mistake_is_one_sentence(words, message):
    result = peftcore(*words)
    assert result.returncode == 1 and message in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_race_is_ranked(six_images):
    words = (
        "race",
        "--task",
        six_images,
        "--method",
        "linear",
        "--vary",
        "lr=0.0001,0.01",
        "--epochs",
        "1",
        "--no-pretrained",
        "--json",
    )
    answer = json.loads(peftcore(*words).stdout)
    assert {row["spec"]["lr"] for row in answer} == {0.0001, 0.01}
    assert answer[0]["val_accuracy"] >= answer[1]["val_accuracy"]


def test_conditions_are_those_recorded_by_the_runs(six_images):
    task = f"{six_images}?symmetries=none&fit=crop"
    words = ("--task", task, "--method", "linear", "--epochs", "1", "--no-pretrained", "--augmentation", "light")
    [raced] = json.loads(peftcore("race", "--vary", "lr=0.01", *words, "--json").stdout)
    assert raced["conditions"] == json.loads(peftcore("run", "--lr", "0.01", *words, "--json").stdout)["conditions"]
    assert raced["conditions"].startswith(
        "images resized and cropped to 224 x 224, then stretched to 64 x 64 (bicubic)"
    )
    assert "nothing that keeps these labels" in raced["conditions"]
    shown = " ".join(peftcore("run", *words).stdout.split())
    assert "vit_micro with random weights" in shown and "test accuracy ┃ val accuracy ┃" in shown  # no word is broken


def test_features_on_disk_are_listed_and_removed(six_images):
    words = ("run", "--task", six_images, "--method", "linear", "--cache-features", "disk", *QUICK)
    assert json.loads(peftcore(*words).stdout)["settings"]["features"]["place"] == "disk"
    listed = json.loads(peftcore("cache", "--json").stdout)
    assert [entry["made_of"]["tap"] for entry in listed] == ["pooled"] * 2
    assert "pooled" in peftcore("cache").stdout
    assert json.loads(peftcore("cache", "--clear", "--json").stdout)["freed"] == sum(e["bytes"] for e in listed)
    assert json.loads(peftcore("cache", "--json").stdout) == []


def test_a_recorded_command_tells_no_path_of_this_machine(monkeypatch):
    from peftcore.cli.output import command_line

    monkeypatch.setattr(
        "sys.argv", ["x", "bench", "recipes", "--storage", "/home/ana/search.journal", "--minutes", "5"]
    )
    assert command_line() == "python -m peftcore bench recipes --storage build/search.journal --minutes 5"


def test_nothing_that_travels_names_a_folder_of_its_maker():
    assets = Path(__file__).parents[2] / "assets"
    texts = {
        file: file.read_bytes() for file in assets.rglob("*") if file.suffix in (".json", ".jsonl", ".safetensors")
    }
    assert len(texts) > 100
    named = rb'[" \\[](?:/(?:home|root|var|tmp|work|mnt|opt|Users)/|[A-Z]:\\\\)'
    assert not [file.name for file, text in texts.items() if re.search(named, text)]


def test_the_command_line_starts_without_torch():
    said = "import sys, peftcore.__main__; print(sorted({'torch', 'timm', 'ray', 'peft'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]", "whoever asks the doctor may have no torch that works"


def test_a_stage_of_the_search_that_there_is_not_is_a_sentence(tmp_path):
    pytest.importorskip("optuna")
    paths = "--storage", str(tmp_path / "s"), "--write", str(tmp_path / "r")
    found = peftcore("bench", "recipes", "--minutes", "1", "--stages", "rate", *paths)
    assert (
        found.returncode == 1 and "There is no stage of the search called 'rate'. Did you mean 'rates'?" in found.stderr
    )
