"""Lessons as files: one Markdown file of `assets/lessons` each, in which fenced blocks are steps. No Streamlit.

A file begins with TOML between two lines of `+++` (title, question, minutes, and for the teacher `answers`,
`misunderstandings`, `show`), then Markdown with KaTeX. A heading `## ...` begins a section. Steps are fenced blocks:

    ```live             a figure that the reader moves: `figure` names a file of app/learn/live, the rest is for it
    ```predict          the reader commits to an answer; what follows it in the section shows only then. `ask`, `key`,
                        `answer` (an expression of facts), and `choices`, or `low`, `high`, `step`, `unit`, or
                        `click`, a figure of app/learn/live that can be clicked (`pick`); `later`, a sentence in place
                        of the verdict, where something that the reader does decides
    ```paper            what the paper says and where Headroom differs, as Markdown
    ```do               a door to another page: `page`, `label`, and the page's query

`[[ ... ]]` in the text is an expression of facts (app/learn/facts.py): no number that a run decides is typed.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from peftcore.errors import BadData, unknown

FOLDER = Path(__file__).resolve().parent.parent.parent / "assets" / "lessons"
STEPS = {"live": {"figure"}, "predict": {"ask", "key", "answer"}, "do": {"page", "label"}, "paper": set()}
_FENCE = re.compile(r"^```(\w+)[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_HEAD = re.compile(r"\A\+\+\+\n(.*?)^\+\+\+\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """`kind`: 'text', 'paper' (both Markdown in `text`) or 'live', 'predict', 'do' (with `settings`)."""

    kind: str
    text: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    title: str
    steps: tuple[Step, ...]

    def before_and_after(self) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """The steps up to its prediction, and those that show once it is made; all are before where there is none."""
        for index, step in enumerate(self.steps):
            if step.kind == "predict":
                return self.steps[: index + 1], self.steps[index + 1 :]
        return self.steps, ()


@dataclass(frozen=True)
class Lesson:
    """`number` orders lessons, `name` is the file's without it; both come from a name like `2-what-lora-adds.md`."""

    name: str
    number: int
    title: str
    question: str
    minutes: int
    sections: tuple[Section, ...]
    teacher: dict[str, Any]


def names() -> tuple[str, ...]:
    """Lessons by number: their files' names without the number."""
    return tuple(_files())


def read(name: str) -> Lesson:
    """A lesson. Raises UnknownName, or BadData where its file is not one."""
    if name not in _files():
        raise unknown("lesson", name, names())
    path = _files()[name]
    return parse(path.read_text(encoding="utf-8"), path.stem)


@lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    found = [(re.fullmatch(r"(\d+)-(.+)", path.stem), path) for path in FOLDER.glob("*.md")]
    numbered = sorted((int(match[1]), match[2], path) for match, path in found if match)
    return {name: path for _, name, path in numbered}


def parse(text: str, stem: str) -> Lesson:
    """A lesson from its file's text; `stem` is '<number>-<name>'."""
    facts, rest = head(text, f"lesson {stem}")
    if lacking := {"title", "question", "minutes"} - facts.keys():
        raise BadData(f"The lesson {stem} lacks {', '.join(sorted(lacking))} at its beginning.")
    number, _, name = stem.partition("-")
    bodies = re.split(r"^## +(.+)$", _hidden(rest), flags=re.MULTILINE)
    blocks = _FENCE.findall(rest)
    sections = [
        Section(title.strip(), tuple(_steps(body, blocks, stem)))
        for title, body in zip(["", *bodies[1::2]], bodies[0::2], strict=True)
        if body.strip()
    ]
    teacher = {key: value for key, value in facts.items() if key not in ("title", "question", "minutes")}
    return Lesson(name, int(number), facts["title"], facts["question"], facts["minutes"], tuple(sections), teacher)


def head(text: str, what: str) -> tuple[dict[str, Any], str]:
    """The TOML at a file's beginning, and the Markdown after it. `what` it is, for the sentence of a BadData."""
    found = _HEAD.match(text)
    if not found:
        raise BadData(f"The {what} does not begin with TOML between two lines of +++.")
    return _toml(found[1], what), text[found.end() :]


def _hidden(text: str) -> str:
    """The text with its fenced blocks replaced by their numbers: what is in them is neither heading nor text."""
    count = iter(range(10_000))
    return _FENCE.sub(lambda _: f"\0{next(count)}\0", text)


def _steps(body: str, blocks: list[tuple[str, str]], stem: str) -> list[Step]:
    steps = []
    for index, part in enumerate(body.split("\0")):
        if index % 2 == 0:
            steps += [Step("text", part.strip())] if part.strip() else []
            continue
        kind, content = blocks[int(part)]
        if kind not in STEPS:
            steps.append(Step("text", f"```{kind}\n{content}```"))
        elif kind == "paper":
            steps.append(Step("paper", content.strip()))
        else:
            settings = _toml(content, f"lesson {stem}")
            if lacking := STEPS[kind] - settings.keys():
                raise BadData(f"A {kind} of the lesson {stem} lacks {', '.join(sorted(lacking))}.")
            steps.append(Step(kind, settings=settings))
    return steps


def _toml(text: str, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadData(f"The {what} has a block that is not TOML: {error}.") from None
