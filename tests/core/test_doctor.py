"""The doctor finds what works, and says what to do about what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from peftcore import errors
from peftcore.bench import _device_checks, _machine_checks
from peftcore.bench import _doctor as doctor

ROOT = Path(__file__).resolve().parents[2]


def by_name(findings):
    return {f.name: f for f in findings}


def test_it_answers_in_json_and_its_exit_status_says_whether_all_works(tmp_path):
    words = [sys.executable, "-m", "peftcore", "doctor", "--no-ray", "--devices", "cpu", "--json"]
    home = {"HEADROOM_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=os.environ | home)
    found = {f["name"]: f for f in json.loads(done.stdout)}
    assert done.returncode == 0, [f for f in found.values() if f["state"] == "fails"]
    assert {"python", "torch", "timm", "memory", "folder", "store", "hub", "vit_micro", "lora on cpu"} <= found.keys()
    assert found["hub"]["state"] == "limited" and "HEADROOM_WEIGHTS" in found["hub"]["remedy"]
    assert "images/s" in found["last on cpu"]["found"]
    assert all(bool(f["remedy"]) == (f["state"] != "works") for f in found.values())


def test_a_folder_that_cannot_be_written_is_a_finding(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path / "file" / "home"))
    [found] = doctor.examined(_machine_checks.disk)
    assert found.state == "fails" and "HEADROOM_HOME" in found.remedy


def test_a_library_of_another_version_is_named_with_the_one_that_was_tried(monkeypatch):
    monkeypatch.setattr(_machine_checks, "_pins", lambda: {"timm": "9.9.9", "peft": "9.9.9"})
    monkeypatch.setattr(_machine_checks, "LIBRARIES", ("timm", "no-such-library"))
    found = by_name(doctor.examined(_machine_checks.libraries))
    assert found["timm"].state == "limited" and "timm==9.9.9" in found["timm"].remedy
    assert found["no-such-library"].state == "fails"


@pytest.mark.parametrize("error", [errors.InvalidSetting("This is wrong. Do that."), RuntimeError("a\nb"), KeyError()])
def test_errors_raised_by_a_check_are_findings_too(error):
    def check():
        """The moon."""
        raise error

    [found] = doctor.examined(check)
    assert found.name == "The moon" and found.state == "fails" and type(error).__name__ in found.found and found.remedy


def test_a_device_that_is_not_there_fails_with_a_sentence():
    [found] = doctor.examined(_device_checks.trial("cuda:7"))
    assert found.state == "fails" and "cuda:7" in found.name + found.found


@pytest.mark.parametrize(("driver", "state"), [("/usr/bin/nvidia-smi", "fails"), (None, "limited")])
def test_a_pytorch_for_cuda_without_a_gpu_fails_only_where_there_is_a_driver(monkeypatch, driver, state):
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(_machine_checks.shutil, "which", lambda name: driver)
    found = by_name(doctor.examined(_machine_checks.processors))["cuda"]
    assert found.state == state and found.remedy


def test_what_a_check_found_before_it_failed_stays_and_only_a_missing_library_is_to_be_installed():
    from peftcore.bench._doctor import Finding, examined

    def check():
        """Two things."""
        yield Finding("one", "works", "here", "")
        raise ValueError("unknown url type")

    def lacking():
        """A library."""
        raise ImportError("no libtorch")
        yield

    one, two = examined(check)
    assert one.name == "one" and (two.name, two.state) == ("Two things", "fails") and "nstall" not in two.remedy
    assert "nstall" in examined(lacking)[0].remedy
