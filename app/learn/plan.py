"""The plan of a workshop: `assets/lessons/plan.md`, its parts in order, with the minutes of its lessons. No Streamlit.

The file begins with TOML between two lines of `+++`: `minutes` that there are, and `[[parts]]`, each either `title`,
`minutes` and what one likes of `note`, `page` and `query`, or `lessons`, a list of their numbers, with `talk`, minutes
of talk after each. Markdown follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.learn import lesson
from app.learn.lesson import FOLDER, PLAN, Lesson

FILE = FOLDER / PLAN


@dataclass(frozen=True)
class Part:
    """From minute `start` on; a lesson, or something else with a `title`."""

    start: int
    minutes: int
    title: str
    lesson: Lesson | None = None
    note: str = ""
    page: str | None = None
    query: Mapping[str, Any] | None = None

    @property
    def clock(self) -> str:
        """'0:05 to 0:11'."""
        return " to ".join(f"{minute // 60}:{minute % 60:02}" for minute in (self.start, self.start + self.minutes))


@dataclass(frozen=True)
class Plan:
    """`minutes`: those that there are. `missing`: numbers of lessons that the plan names and that do not exist."""

    minutes: int
    parts: tuple[Part, ...]
    text: str
    missing: tuple[int, ...]

    @property
    def takes(self) -> int:
        return sum(part.minutes for part in self.parts)

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        return tuple(part.lesson for part in self.parts if part.lesson)


def read() -> Plan:
    """The plan of the file. Raises BadData where it is none."""
    return parse(FILE.read_text(encoding="utf-8"), lesson.readable()[0])


def parse(text: str, lessons: Sequence[Lesson]) -> Plan:
    """A plan from its file's text, with the lessons that there are."""
    facts, rest = lesson.head(text, "plan")
    lesson.check(facts, {"minutes": int, "parts": list}, "beginning of the plan")
    by_number = {each.number: each for each in lessons}
    parts: list[Part] = []
    missing: list[int] = []
    for given in facts["parts"]:
        at = parts[-1].start + parts[-1].minutes if parts else 0
        if "lessons" not in given:
            lesson.check(given, {"title": str, "minutes": int}, "part of the plan without lessons")
            more = {name: given[name] for name in ("note", "page", "query") if name in given}
            parts.append(Part(at, given["minutes"], given["title"], **more))
            continue
        lesson.check({"talk": 0} | given, {"lessons": list, "talk": int}, "part of the plan with lessons")
        for number in given["lessons"]:
            if (found := by_number.get(number)) is None:
                missing.append(number)
                continue
            minutes = found.minutes + given.get("talk", 0)
            parts.append(Part(at, minutes, f"{number}. {found.title}", found, found.question))
            at += minutes
    return Plan(facts["minutes"], tuple(parts), rest.strip(), tuple(missing))
