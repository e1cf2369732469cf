"""Which adapters an X-ray can be of: dropped ones, this machine's runs, recorded examples. Reading one, cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app import subjects, words
from app.xray import uploads
from peftcore.errors import HeadroomError, UnknownName
from peftcore.fetch.peft_folder import holds_peft
from peftcore.registry import METHODS
from peftcore.store import gallery

if TYPE_CHECKING:
    from peftcore.bench.xray import Adapter

KEPT, EXAMPLE = "kept-", "lora-digits"


@dataclass(frozen=True)
class Source:
    """`code` is what the address calls it; `path`: of a dropped adapter, else a run's number or an example's name."""

    code: str
    title: str
    path: Path | None = None

    @property
    def dropped(self) -> bool:
        return self.path is not None

    @property
    def needs_scale(self) -> bool:
        """Whether it is a file named as PETL-ViT names them, of a task that is none of the released ones."""
        from peftcore.fetch.petl_vit import SCALES

        if self.path is None or self.path.suffix != ".bin" or holds_peft(self.path):
            return False
        task, named, _ = self.path.name.partition("-bit")
        return bool(named) and task not in SCALES


def offered() -> list[Source]:
    """The newest first: what was dropped, then runs with low-rank updates, then recorded examples."""
    found = [source for code in uploads.codes() for source in of_upload(code)]
    for run in subjects.runs("adapter"):
        if run.method in METHODS.names() and METHODS.facts(run.method).shows == "heads":
            found.append(Source(run.subject.id, run.title))
    return found


def of_upload(code: str) -> list[Source]:
    """Each adapter of one upload."""
    return [
        Source(f"{KEPT}{code}-{number}", f"{path.name}, dropped {words.age(path.stat().st_mtime)}", path)
        for number, path in enumerate(uploads.adapters(code))
    ]


def read(source: Source, heads: int | None, scale: float | None) -> Adapter:
    """What its weights say. Raises what `peftcore.bench.xray.read` does, without this machine's paths."""
    try:
        found = _read(source.code, str(source.path) if source.path else None, heads, scale)
    except HeadroomError as error:
        raise type(error)(_without_paths(str(error), source.path)) from None
    return replace(found, no_scores=found.no_scores and _without_paths(found.no_scores, source.path))


def _without_paths(text: str, kept: Path | None) -> str:
    for path in (kept, kept.parent, kept.parent.parent) if kept else ():
        text = text.replace(f"{path}/", "").replace(str(path), path.name)
    return text


@st.cache_resource(max_entries=12, show_spinner=False)
def _read(code: str, path: str | None, heads: int | None, scale: float | None) -> Adapter:
    from peftcore.bench import xray

    if path is not None:
        return xray.read(path, heads, scale)
    blob = subjects.adapter(subjects.named(code))
    if blob is None:
        raise UnknownName(f"There is no trained adapter of run {code}.")
    return xray.from_bytes(blob)


def default(sources: Sequence[Source]) -> Source:
    """What is shown first: the newest run of this machine, else the recorded example of LoRA. What somebody dropped is
    shown to who dropped it, by the address."""
    runs = [source for source in sources if source.code.isdigit()]
    examples = [source for source in sources if source.code in gallery.names()]
    return [*runs[:1], *(one for one in examples if one.code == EXAMPLE), *examples, *sources][0]
