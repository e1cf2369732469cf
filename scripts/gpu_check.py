"""Everything that Headroom promises of a GPU, checked and measured in one sitting on a bare machine.

Such a machine has PyTorch with CUDA and timm, and neither a network nor Ray, Streamlit, Plotly or pydantic.

    python scripts/gpu_check.py prepare wheels --python 3.12       # where there is a network: what such a machine lacks
    python scripts/gpu_check.py run results --wheels wheels        # there: at most 8 minutes
    python scripts/gpu_check.py run results --rehearse             # on a CPU, with small models
    python scripts/gpu_check.py write results                      # BENCHMARKS.md's section, from the results

Each part has a time limit of its own and writes results/parts/NAME.json; what is done is not run again, and what was
stopped goes on with the rows it lacks. results/results.json holds all parts in one file, and is enough to go on from.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import gpu_report  # noqa: E402
import gpu_wheels  # noqa: E402

FOREIGN = ("ray", "streamlit", "plotly")  # what no part but `sharing` imports
LOOK_SECONDS = 0.2  # between two looks at a worker
SLOW = 10.0  # how many times the limits a rehearsal may take
SPARE_SECONDS = 15.0  # of the whole, kept for the end


@dataclass
class Results:
    """The folder of a sitting: a file for each part, and one that holds them all."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "parts").mkdir(parents=True, exist_ok=True)
        whole = self.folder / "results.json"
        for name, part in (json.loads(whole.read_text()) if whole.exists() else {}).items():
            if not self.file(name).exists():
                self.write(name, part)

    def file(self, name: str) -> Path:
        return self.folder / "parts" / f"{name}.json"

    def read(self, name: str) -> dict[str, Any]:
        return json.loads(self.file(name).read_text()) if self.file(name).exists() else {"state": "", "rows": []}

    def write(self, name: str, part: dict[str, Any]) -> None:
        half = self.file(name).with_suffix(".half")
        half.write_text(json.dumps(part, indent=1))
        os.replace(half, self.file(name))

    def all(self) -> dict[str, dict[str, Any]]:
        return {file.stem: json.loads(file.read_text()) for file in sorted((self.folder / "parts").glob("*.json"))}

    def gather(self) -> None:
        (self.folder / "results.json").write_text(json.dumps(self.all(), indent=1))


def run(options: argparse.Namespace) -> None:
    """Parts in workers of their own process, one worker for as many as go well; the rest after one that did not."""
    ends = time.monotonic() + 60 * options.minutes
    gpu_wheels.unpack(options.wheels)
    import gpu_parts

    parts = gpu_parts.parts(options.rehearse)
    wanted = [name.strip() for name in options.parts.split(",")] if options.parts else list(parts)
    if strange := [name for name in wanted if name not in parts]:
        raise SystemExit(f"There is no part {strange[0]!r}; there are {', '.join(parts)}.")
    results = Results(Path(options.results))
    left = [name for name in wanted if results.read(name)["state"] != "done"]
    for name in left:
        results.write(name, results.read(name) | {"state": "waiting"})
    while left and time.monotonic() < ends - SPARE_SECONDS:
        left = _sitting(results, left, parts, ends - SPARE_SECONDS, options)
        results.gather()
    results.gather()
    print(gpu_report.summary(results.all()), flush=True)


def _sitting(results: Results, names: Sequence[str], parts: dict[str, Any], ends: float, options: Any) -> list[str]:
    """Works on parts until one is stopped or the worker dies; returns those that are left."""
    command = [sys.executable, *(["-S"] if sys.flags.no_site else []), __file__, "work", options.results, *names]
    command += ["--device", options.device, "--left", str(ends - time.monotonic())]
    worker = subprocess.Popen([*command, *(["--rehearse"] if options.rehearse else [])])
    now, began = "", time.monotonic()
    left = list(names)
    while worker.poll() is None:
        time.sleep(LOOK_SECONDS)
        left = [name for name in names if results.read(name)["state"] not in ("done", "failed")]
        if left and left[0] != now:
            now, began = left[0], time.monotonic()
        limit = SLOW * parts[now].seconds if options.rehearse and now else parts[now].seconds if now else 0.0
        limit += gpu_wheels.START_SECONDS if now == names[0] else 0.0
        late = time.monotonic() > ends
        if now and (late or time.monotonic() - began > limit):
            worker.kill()
            worker.wait()
            why = "the sitting's time was over" if late else f"it took more than {limit:.0f} s"
            results.write(now, results.read(now) | {"state": "stopped", "why": why})
            print(f"{now}: stopped, {why}", flush=True)
    worker.wait()
    left = [name for name in names if results.read(name)["state"] not in ("done", "failed", "stopped")]
    if worker.returncode != 0 and left:  # below 0: by a signal
        results.write(left[0], results.read(left[0]) | {"state": "failed", "why": f"exit status {worker.returncode}"})
        left = left[1:]
    return left


def work(options: argparse.Namespace) -> None:
    """In the worker: each part in turn, its file written after every row."""
    import gpu_parts

    results, ends = Results(Path(options.results)), time.monotonic() + options.left
    place = gpu_parts.Place(options.device, options.rehearse, Path(options.results), ends)
    for name in options.parts:
        task = gpu_parts.parts(options.rehearse)[name]
        part = (results.read(name) if task.resumes else {"rows": []}) | {"state": "partial", "why": ""}
        began = time.perf_counter()
        try:
            for row in task.work(place, list(part["rows"])):
                part["rows"].append(row)
                results.write(name, part)
                print(f"{name}: {row}", flush=True)
            part["state"] = "done"
        except Exception as error:
            traceback.print_exc()
            part |= {"state": "failed", "why": f"{type(error).__name__}: {str(error)[:500]}"}
        part["seconds"] = round(time.perf_counter() - began, 2)
        results.write(name, part)
        if seen := [foreign for foreign in FOREIGN if foreign in sys.modules and name != "sharing"]:
            raise SystemExit(f"{name} imported {seen}, which a bare machine has not")


def write(options: argparse.Namespace) -> None:
    folder = Path(options.results)
    if not any([*folder.glob("results.json"), *folder.glob("parts/*.json")]):
        raise SystemExit(f"{folder} holds no results; `run {folder}` makes them. {options.to} stays as it is.")
    text = gpu_report.section(Results(folder).all())
    gpu_report.place(text, Path(options.to))
    print(f"wrote {len(text.splitlines())} lines into {options.to}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, does in (("prepare", gpu_wheels.prepare), ("run", run), ("work", work), ("write", write)):
        sub = verbs.add_parser(verb)
        sub.set_defaults(does=does)
        sub.add_argument("folder" if verb == "prepare" else "results")
        for add in _options(verb):
            sub.add_argument(*add[0], **add[1])
    options = parser.parse_args(arguments)
    options.does(options)


def _options(verb: str) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if verb == "prepare":
        yield ("--python",), {"default": "3.12", "help": "the version on that machine"}
        yield ("--also",), {"default": "", "help": "further distributions, comma-separated, such as peft or ray"}
    if verb == "write":
        yield ("--to",), {"default": str(ROOT / "BENCHMARKS.md")}
    if verb == "run":
        yield ("--minutes",), {"type": float, "default": 8.0, "help": "the whole"}
        yield ("--parts",), {"default": "", "help": "names, comma-separated; all by default"}
    if verb == "work":
        yield ("parts",), {"nargs": "+"}
        yield ("--left",), {"type": float, "default": 480.0}
    if verb == "run":
        yield ("--wheels",), {"default": "", "help": "the folder that prepare filled"}
    if verb in ("run", "work"):
        yield ("--device",), {"default": "auto"}
        yield ("--rehearse",), {"action": "store_true", "help": "small models, on whatever device there is"}


if __name__ == "__main__":
    main()
