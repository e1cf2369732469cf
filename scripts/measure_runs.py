"""Times the page Runs with very many runs in the store: `python scripts/measure_runs.py STORE [RUNS]`.

STORE is a folder with a few finished runs (a HEADROOM_HOME). Its runs are copied, rows, events and small artifacts, to
RUNS (2,000) in a store of its own in a temporary folder; prints seconds of the page's script: its first run, a rerun,
and what the list's timer repeats. A copy's artifacts of more than 100 kB are left out.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT_BYTES = 100_000
TABLES = {"events": "seq, kind, time, data", "artifacts": "name, time, data"}


def fill(source: Path, home: Path, runs: int) -> None:
    """Copies the runs of one store again and again into another."""
    sys.path.insert(0, str(ROOT))
    from peftcore.store import Store

    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "headroom.sqlite3", home / "headroom.sqlite3")
    Store(home).close()  # of the newest format
    with sqlite3.connect(home / "headroom.sqlite3") as db:
        db.execute("DELETE FROM artifacts WHERE length(data) > ?", (KEPT_BYTES,))
        columns = [row[1] for row in db.execute("PRAGMA table_info(runs)") if row[1] != "id"]
        first = [row[0] for row in db.execute("SELECT id FROM runs WHERE status = 'finished' ORDER BY id")]
        for new in range(max(first) + 1, runs + 1):
            old, names = first[new % len(first)], ", ".join(columns)
            db.execute(f"INSERT INTO runs (id, {names}) SELECT ?, {names} FROM runs WHERE id = ?", (new, old))
            db.execute("UPDATE runs SET race = NULL, spec = json_set(spec, '$.seed', ?) WHERE id = ?", (new, new))
            for table, names in TABLES.items():
                db.execute(
                    f"INSERT INTO {table} (run, {names}) SELECT ?, {names} FROM {table} WHERE run = ?", (new, old)
                )
    db.close()


def main() -> None:
    home = Path(tempfile.mkdtemp()) / "home"
    fill(Path(sys.argv[1]), home, int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
    print(f"{(home / 'headroom.sqlite3').stat().st_size / 1e6:,.0f} MB in {home}", flush=True)
    os.environ["HEADROOM_HOME"] = str(home)
    os.chdir(ROOT)

    from streamlit.testing.v1 import AppTest

    page = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120)
    page.switch_page("pages/runs.py")
    for what in ("first", "second", "third"):
        began = time.perf_counter()
        page.run()
        print(f"{what} run of the script: {time.perf_counter() - began:.2f} s, {len(page.button)} buttons", flush=True)


if __name__ == "__main__":
    main()
