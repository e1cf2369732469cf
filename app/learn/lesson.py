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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peftcore.errors import BadData, unknown

FOLDER = Path(__file__).resolve().parent.parent.parent / "assets" / "lessons"
PLAN = "plan.md"  # in the folder, beside the lessons (plan.py)
STEPS: dict[str, dict[str, type]] = {  # kinds, with the settings that each must have
    "live": {"figure": str},
    "predict": {"ask": str, "key": str, "answer": str},
    "do": {"page": str, "label": str},
    "paper": {},
}
_KINDS = {str: "text", int: "a whole number", list: "a list"}
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
        """The steps up to its first prediction, and those that show later; all are before where there is none."""
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
    return tuple(_files()[0])


def read(name: str) -> Lesson:
    """A lesson. Raises UnknownName, or BadData where its file is not one."""
    files, _ = _files()
    if name not in files:
        raise unknown("lesson", name, list(files))
    return _of_file(files[name])


def readable() -> tuple[list[Lesson], list[BadData]]:
    """The lessons by number, and what is wrong with each file that is none: it takes no other lesson away."""
    files, faults = _files()
    lessons = []
    for path in files.values():
        try:
            lessons.append(_of_file(path))
        except BadData as error:
            faults.append(error)
    return lessons, faults


def _files() -> tuple[dict[str, Path], list[BadData]]:
    """The files by their lessons' names, as the folder is now, and which names or numbers two of them have."""
    found = [(re.fullmatch(r"(\d+)-(.+)", path.stem), path) for path in FOLDER.glob("*.md")]
    files: dict[str, Path] = {}
    numbers: dict[int, Path] = {}
    faults = [
        BadData(f"{path.name} is no lesson: name it NUMBER-NAME.md, such as 12-my-lesson.md.")
        for match, path in sorted(found, key=lambda one: one[1])
        if not match and path.name != PLAN
    ]
    for number, name, path in sorted((int(match[1]), match[2], path) for match, path in found if match):
        if other := files.get(name) or numbers.get(number):
            faults.append(BadData(f"{path.name} has the name or the number of {other.name}: rename one of the two."))
        files.setdefault(name, path)
        numbers.setdefault(number, path)
    return files, faults


def _of_file(path: Path) -> Lesson:
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"The lesson {path.stem} cannot be read as UTF-8 text: {error}.") from None
    return parse(text, path.stem)


def parse(text: str, stem: str) -> Lesson:
    """A lesson from its file's text; `stem` is '<number>-<name>'. Raises BadData where it is none."""
    what = f"lesson {stem}"
    facts, rest = head(text, what)
    check(facts, {"title": str, "question": str, "minutes": int}, f"beginning of the {what}")
    teacher = {key: value for key, value in facts.items() if key not in ("title", "question", "minutes")}
    if facts["minutes"] < 1:
        raise BadData(f"The {what} takes {facts['minutes']} minutes, and should take at least 1.")
    for key, value in teacher.items():
        if not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            raise BadData(f"In the beginning of the {what}, {key} is {value!r}, and should be a list of texts.")
    number, _, name = stem.partition("-")
    bodies = re.split(r"^## +(.+)$", _hidden(rest), flags=re.MULTILINE)
    blocks = _FENCE.findall(rest)
    sections = [
        Section(title.strip(), tuple(_steps(body, blocks, what)))
        for title, body in zip(["", *bodies[1::2]], bodies[0::2], strict=True)
        if body.strip()
    ]
    if not sections:
        raise BadData(f"The {what} has no text after its beginning.")
    keys = [step.settings["key"] for section in sections for step in section.steps if step.kind == "predict"]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise BadData(f"The {what} has two predictions with the key {', '.join(sorted(twice))}.")
    return Lesson(name, int(number), facts["title"], facts["question"], facts["minutes"], tuple(sections), teacher)


def head(text: str, what: str) -> tuple[dict[str, Any], str]:
    """The TOML at a file's beginning, and the Markdown after it. `what` it is, for the sentence of a BadData."""
    found = _HEAD.match(text)
    if not found:
        raise BadData(f"The {what} does not begin with TOML between two lines of +++.")
    return _toml(found[1], what), text[found.end() :]


def check(given: Mapping[str, Any], kinds: Mapping[str, type], what: str) -> None:
    """Raises BadData where `what` lacks one of these names, or has something else by it."""
    if lacking := kinds.keys() - given.keys():
        raise BadData(f"The {what} lacks {', '.join(sorted(lacking))}.")
    for name, kind in kinds.items():
        if type(given[name]) is not kind:
            raise BadData(f"In the {what}, {name} is {given[name]!r}, and should be {_KINDS[kind]}.")


def _hidden(text: str) -> str:
    """The text with its fenced blocks replaced by their numbers: what is in them is neither heading nor text."""
    count = iter(range(10_000))
    return _FENCE.sub(lambda _: f"\0{next(count)}\0", text)


def _steps(body: str, blocks: list[tuple[str, str]], what: str) -> list[Step]:
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
            settings = _toml(content, what)
            check(settings, STEPS[kind], f"{kind} block of the {what}")
            if kind == "predict":
                _check_answers(settings, f"prediction {settings['key']} of the {what}")
            steps.append(Step(kind, settings=settings))
    return steps


def _check_answers(asked: Mapping[str, Any], what: str) -> None:
    """Raises BadData where nobody could answer: it has neither choices, nor a figure to click, nor a slider's ends."""
    if "choices" in asked or "click" in asked:
        check(asked, {"choices": list} if "choices" in asked else {"click": str}, what)
        return
    low, high, step = (asked.get(name, default) for name, default in (("low", None), ("high", None), ("step", 1)))
    if any(type(one) not in (int, float) for one in (low, high, step)) or not (low < high and step > 0):
        raise BadData(
            f"The {what} needs choices, or click, or low, high and step, numbers with low < high and step > 0; it has "
            f"low = {low}, high = {high}, step = {step}."
        )


def _toml(text: str, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadData(f"The {what} has a block that is not TOML: {error}.") from None
