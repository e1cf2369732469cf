"""The command line: JSON for machines, sentences for mistakes, nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def peftcore(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "peftcore", *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("command", ["methods", "tasks", "backbones"])
def test_lists_are_json(command):
    answer = json.loads(peftcore(command, "--json").stdout)
    assert len(answer) >= 3


def test_a_run_is_json_and_its_adapter_is_read_by_heads(tmp_path):
    words = ("run", "--method", "lora", "--set", "rank=2", "--epochs", "1", "--no-pretrained", "--json")
    answer = json.loads(peftcore(*words, "--save", str(tmp_path / "a")).stdout)
    assert 0 <= answer["test_accuracy"] <= 1 and answer["spec"]["method"]["rank"] == 2
    scores = json.loads(peftcore("heads", str(tmp_path / "a"), "--json").stdout)
    assert len(scores["values"]) == 8 and len(scores["values"][0][0]) == 8


@pytest.mark.parametrize(
    "words, told",
    [
        (("run", "--method", "lorra"), "Did you mean 'lora'"),
        (("run", "--method", "[/red]"), "There is no method '[/red]'"),
        (("run", "--set", "rank"), "NAME=VALUE"),
        (("run", "--cache-features", "x"), "'auto' or 'disk' or a valid boolean"),
        (("race", "--vary", "rank"), "NAME=V1,V2"),
        (("race", "--vary", "rank=4,0"), "rank = 0 is not possible"),
        (("run", "--save", "/proc/nowhere"), "cannot be written"),
        (("heads", "/nowhere"), "holds no adapter_model"),
    ],
)
def test_a_mistake_is_one_sentence(words, told):
    result = peftcore(*words)
    assert result.returncode == 1 and told in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == ""
