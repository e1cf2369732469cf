"""The script for a bare machine with a GPU, rehearsed without what such a machine lacks."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import gpu_check
import gpu_parts
import gpu_report
import pytest

ROOT = Path(__file__).resolve().parents[2]
ABSENT = {
    "ray",
    "streamlit",
    "plotly",
    "pandas",
    "sklearn",
    "scipy",
    "peft",
    "transformers",
    "accelerate",
}


def bare(folder: Path) -> Path:
    """The installed packages but for those that a bare machine lacks."""
    folder.mkdir()
    found = importlib.util.find_spec("torch").origin
    for path in Path(found).parents[1].iterdir():
        if path.name.partition("-")[0].partition(".")[0].lower() not in ABSENT:
            (folder / path.name).symlink_to(path)
    return folder


def test_a_machine_with_pytorch_and_timm_alone_works_through_its_parts(tmp_path):
    """-S: nothing is on the path but the bare packages. `resume` trains, caches features, packs and unpacks."""
    script, out = ROOT / "scripts" / "gpu_check.py", tmp_path / "out"
    gpu_check.Results(out).write("resume", {"state": "failed", "rows": [{"weights apart": 9}], "why": "of before"})
    command = [sys.executable, "-S", script, "run", out, "--rehearse", "--parts", "machine,resume", "--device", "cpu"]
    paths = {"PYTHONPATH": str(bare(tmp_path / "site")), "HEADROOM_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True)
    results = json.loads((out / "results.json").read_text())
    assert {name: part["state"] for name, part in results.items()} == {"machine": "done", "resume": "done"}, done.stderr
    assert [row["weights apart"] for row in results["resume"]["rows"]] == [0, 0]
    gpu_check.main(["write", str(out), "--to", str(tmp_path / "page.md")])
    assert "| resume | done |" in (tmp_path / "page.md").read_text()


def test_a_part_or_a_folder_that_is_not_there_is_told_and_changes_nothing(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("as it was")
    with pytest.raises(SystemExit, match="holds no results"):
        gpu_check.main(["write", str(tmp_path / "nowhere"), "--to", str(page)])
    with pytest.raises(SystemExit, match="no part 'nonsense'; there are machine"):
        gpu_check.main(["run", str(tmp_path / "out"), "--rehearse", "--parts", "machine,nonsense"])
    assert [file.name for file in tmp_path.iterdir()] == ["page.md"] and page.read_text() == "as it was"


def test_the_report_takes_the_place_of_the_section_that_asks_for_it(tmp_path):
    page = tmp_path / "BENCHMARKS.md"
    page.write_text((ROOT / "BENCHMARKS.md").read_text())
    gpu_report.place("## On a GPU\n\nMachine: H.", page)
    text = page.read_text()
    assert text.count("## On a GPU") == 1 and "has not seen a GPU yet" not in text


def test_what_is_done_is_not_done_again(tmp_path):
    first = gpu_check.Results(tmp_path)
    first.write("machine", {"state": "done", "rows": [{"device": "a"}]})
    first.write("cache", {"state": "stopped", "rows": [{"kept": "device"}], "why": "it took more than 30 s"})
    first.gather()
    for file in (tmp_path / "parts").iterdir():
        file.unlink()
    again = gpu_check.Results(tmp_path)  # from results.json alone
    assert again.read("machine")["state"] == "done" and again.read("cache")["rows"] == [{"kept": "device"}]
    assert "it took more than 30 s" in gpu_report.summary(again.all())


def test_every_part_has_a_limit_and_all_fit_where_they_have_to():
    whole, small = gpu_parts.parts(), gpu_parts.parts(rehearse=True)
    assert list(whole)[0] == "machine" and list(whole)[-1] == "pretrain"
    assert {f"{model}_{precision}" for model in ("vit_b16", "vit_l16", "swin_b", "vit_g14")
            for precision in ("bf16", "fp32")} <= set(whole)  # fmt: skip
    assert all(0 < part.seconds <= 90 for name, part in whole.items() if name != "pretrain")
    assert {"ledger", "race", "sharing"} <= set(small)


def test_the_section_compares_with_full_fine_tuning_and_the_peer(tmp_path):
    def row(method, seconds, above, cached=False):
        return {"method": method, "cached": cached, "backbone": "vit_base_patch16_224", "precision": "fp32",
                "batch": 32, "seconds": seconds, "images_per_second": 32 / seconds, "ledger": above + 10**8,
                "above_weights": above, "allocated": above + 2 * 10**8}  # fmt: skip

    rows = [row("full", 0.2, 4 * 10**9), row("last", 0.05, 10**9), row("peer", 0.1, 2 * 10**9)]
    parts = {"machine": {"state": "done", "rows": [{"device": "H"}]}, "vit_b16_fp32": {"state": "done", "rows": rows}}
    file = tmp_path / "BENCHMARKS.md"
    file.write_text("# Benchmarks\n\nbefore\n\n## After\n")
    for _ in range(2):
        gpu_report.place(gpu_report.section(parts), file)
    text = file.read_text()
    assert text.count("## On a GPU") == 1 and "before" in text and "## After" in text
    assert "| last | 50.0 | 640 | 0.50 | 1,000.0 | 0.250 | 1,200 |" in text
    assert "says 1.33 GB; here 1.20 GB" in text
