"""Tries every kind of bad archive, table and image, and writes the outcomes to docs/bad_archives.md.

python scripts/bad_archives.py            # the cases are in tests/core/bad_uploads.py; the tests run them too
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "core"))

from bad_uploads import CASES, Case, limits_of

from peftcore import errors, uploads
from peftcore.uploads.survey import shelf

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "bad_archives.md"


def outcome(case: Case, folder: Path) -> tuple[str, str]:
    """What happened to it, and the message."""
    source = case.make(folder)
    try:
        found = uploads.examine(source, limits=limits_of(case))
    except errors.HeadroomError as error:
        return "refused", str(error)
    left_out = [f"{file}: {why}" for file, why in found.skipped]
    found.discard()
    return ("left out, with consent", "; ".join(left_out)) if left_out else ("noted", " ".join(found.notes))


def files(folder: Path) -> set[Path]:
    return {*folder.rglob("*")}


def main() -> None:
    rows: list[str] = []
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as home:
        os.environ["HEADROOM_HOME"] = home
        shelf().mkdir()
        for case in CASES:
            with tempfile.TemporaryDirectory() as made:
                before = files(Path(home))
                got, sentence = outcome(case, Path(made))
                assert files(Path(home)) == before, f"{case.kind}: the disk has changed"
                counts[got] += 1
                cells = (case.kind, got, sentence.replace(made, "FOLDER"))
                rows.append("| " + " | ".join(cell.replace("\\", "\\\\").replace("|", "\\|") for cell in cells) + " |")
    summary = ", ".join(f"{count} {got}" for got, count in counts.items())
    lines = [
        "# Bad archives, tables and images",
        "",
        f"What happens to an upload that is damaged, hostile or incomplete: {len(CASES)} kinds, {summary}.",
        "After each, the disk was exactly as before.",
        "",
        "Made by `python scripts/bad_archives.py`. The tests run the same cases (tests/core/bad_uploads.py), some of",
        "them with lower limits than the defaults.",
        "",
        "| kind | outcome | message |",
        "|---|---|---|",
        *rows,
    ]
    PAGE.write_text("\n".join(lines) + "\n")
    print(f"{len(CASES)} kinds: {summary}; {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
