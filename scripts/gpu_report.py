"""BENCHMARKS.md's section on a GPU, made from the results of a sitting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- from scripts/gpu_check.py -->", "<!-- end of scripts/gpu_check.py -->"
# What papers say of a step at ViT-B/16, 224 pixels, batch 32, in bytes.
PAPERS = {"last": (1.33e9, "arXiv 2402.04009")}
Results = Mapping[str, dict[str, Any]]


def summary(results: Results) -> str:
    """A line for each part: its state, how long it took, and why it stopped."""
    lines = []
    for name, part in results.items():
        why = f": {part['why']}" if part.get("why") else ""
        lines.append(f"{name:<16} {part['state']:<8} {part.get('seconds', 0):6.1f} s  {len(part['rows'])} rows{why}")
    return "\n".join(lines)


def section(results: Results) -> str:
    """Markdown: the machine, the checks, and a table for each model and precision."""
    machine = (results.get("machine", {}).get("rows") or [{}])[0]
    lines = ["## On a GPU", "", f"Machine: {machine.get('device', 'unknown')}, PyTorch {machine.get('torch', '?')}, "
             f"timm {machine.get('timm', '?')}; `python scripts/gpu_check.py run`.", ""]  # fmt: skip
    timed = {name: part for name, part in results.items() if any("seconds" in r and "ledger" in r for r in part["rows"])}  # fmt: skip  # noqa: E501
    lines += ["| check | result | seconds | found |", "|---|---|---:|---|"]
    for name, part in results.items():
        if name not in timed and name != "machine":
            said = part.get("why") or "; ".join(_short(row) for row in part["rows"][:12])
            lines.append(f"| {name} | {part['state']} | {part.get('seconds', 0):.1f} | {said.replace('|', '/')} |")
    for name, part in timed.items():
        lines += ["", *_table(name, part)]
    return "\n".join([*lines, ""])


def _short(row: Mapping[str, Any]) -> str:
    """'method lora, apart 1e-06'."""
    texts = []
    for name, value in row.items():
        if isinstance(value, float):
            value = f"{value:.3g}"
        elif isinstance(value, int) and value > 10**6:
            value = f"{value / 1e6:,.1f} MB"
        elif isinstance(value, dict):
            value = _short(value)
        elif isinstance(value, list):
            value = " and ".join(f"{one:.3g}" if isinstance(one, float) else str(one) for one in value)
        texts.append(f"{name} {value}")
    return ", ".join(texts)


def _table(name: str, part: Mapping[str, Any]) -> list[str]:
    rows = [row for row in part["rows"] if "seconds" in row]
    first = rows[0]
    by = {(row["method"], row["cached"]): row for row in rows}
    whole, peer = by.get(("full", False)), by.get(("peer", False))
    state = "" if part["state"] == "done" else f" ({part['state']}: {part.get('why') or 'not all methods'})"
    lines = [f"### {first['backbone']}, batch {first['batch']}, {first['precision']}{state}", "",
             "| method | ms a step | images/s | of PEFT's LoRA | MB above weights | of full | allocator's peak MB |",
             "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for row in rows:
        title = {"peer": "Hugging Face PEFT, LoRA"}.get(row["method"], row["method"])
        title += ", cached features" if row["cached"] else ""
        time = f"{row['seconds'] / peer['seconds']:.2f}" if peer else ""
        share = f"{row['above_weights'] / whole['above_weights']:.3f}" if whole else ""
        peak = f"{row['allocated'] / 1e6:,.0f}" if row["allocated"] else ""
        lines.append(f"| {title} | {1e3 * row['seconds']:,.1f} | {row['images_per_second']:,.0f} | {time} | "
                     f"{row['above_weights'] / 1e6:,.1f} | {share} | {peak} |")  # fmt: skip
    for row in part["rows"]:
        if "left out" in row:
            lines.append(f"\nLeft out: {row['method']}: {row['left out']}")
    for method, (size, source) in PAPERS.items():
        own = by.get((method, False))
        if own and first["backbone"] == "vit_base_patch16_224" and first["batch"] == 32:
            peak = own["allocated"] or own["ledger"]
            lines.append(f"\nThe paper of {method} ({source}) says {size / 1e9:.2f} GB; here {peak / 1e9:.2f} GB.")
    return lines


def place(text: str, file: Path) -> None:
    """Puts the section into a Markdown file, in the place of the one from before."""
    whole = file.read_text() if file.exists() else ""
    before, begin, rest = whole.partition(BEGIN)
    after = rest.partition(END)[2] if begin else ""
    file.write_text(f"{before.rstrip()}\n\n{BEGIN}\n{text.strip()}\n{END}\n{after.lstrip()}".lstrip())
