"""Which adapters an X-ray can be of: dropped ones, this machine's runs, recorded examples. Reading them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import streamlit as st

from app import background, brought, subjects, words
from app.desk import Job
from app.worker import OverLimit
from app.xray import uploads
from peftcore.errors import HeadroomError, UnknownName
from peftcore.fetch.peft_folder import holds_peft
from peftcore.registry import METHODS
from peftcore.store import gallery

if TYPE_CHECKING:
    from peftcore.bench._likeness import Likeness
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


def offered(linked: Sequence[str] = ()) -> list[Source]:
    """The newest first: what was dropped, then runs with low-rank updates, then recorded examples.

    Of what was dropped, what is listed for whoever looks at the page. What their link names (`linked`) is there too.
    """
    kept = uploads.kept()
    listed = brought.listed({each.owner for each in kept})
    dropped = [source for each in kept for source in _of(each.path) if each.owner in listed or source.code in linked]
    found = list({source.code: source for source in dropped}.values())  # two people may have dropped the same bytes
    runs = subjects.runs("adapter")
    for run in [*runs, *_older(set(linked) - {run.subject.id for run in runs})]:
        if run.method in METHODS.names() and METHODS.facts(run.method).shows == "heads":
            found.append(Source(run.subject.id, run.title))
    return found


def _older(codes: Iterable[str]) -> Iterator[subjects.Run]:
    """Runs that a link names, and that are none of the newest."""
    for code in codes:
        if subjects.number(code) is None:
            continue
        with suppress(HeadroomError):  # there is no such run, or it is not theirs to look at; the page says so
            run = subjects.run(subjects.named(code))
            if subjects.adapter(run.subject):
                yield run


def of_upload(code: str) -> list[Source]:
    """Each adapter of one upload."""
    return _of(found) if (found := uploads.found(code)) else []


def _of(upload: Path) -> list[Source]:
    return [
        Source(f"{KEPT}{upload.name}-{number}", f"{path.name}, dropped {words.age(path.stat().st_mtime)}", path)
        for number, path in enumerate(uploads.adapters(upload))
    ]


class Wish(NamedTuple):
    """What a process needs to read an adapter, and the key of what it finds."""

    path: str | None  # of a dropped adapter
    subject: subjects.Subject | None = None
    finished: float | None = None
    heads: int | None = None
    scale: float | None = None

    @classmethod
    def of(cls, source: Source, heads: int | None, scale: float | None) -> Wish:
        """Raises what looking at a run raises: the process asks nobody who they are."""
        from peftcore.adapters.load import origin_of

        if source.path is not None:
            is_own = origin_of(source.path) == "headroom"  # it names its backbone, and so its heads
            return cls(str(source.path), heads=None if is_own else heads, scale=scale)
        run = subjects.run(subjects.named(source.code))
        return cls(None, run.subject, run.finished)

    def opened(self) -> Adapter:
        """With the factors of its updates."""
        from peftcore.bench import xray

        if self.path is not None:
            return xray.read(self.path, self.heads, self.scale)
        blob = subjects.adapter(self.subject) if self.subject else None
        if blob is None:
            raise UnknownName("There is no trained adapter of this run.")
        return xray.from_bytes(blob)


def read(wish: Wish, said: str = "Reading its weights ...") -> Adapter:
    """What its weights say, without the factors, read in sight and in a process beside the app.

    Raises what `peftcore.bench.xray.read` does, without this machine's paths, and OverLimit.
    """
    found = _waited(background.apart(("xray", wish), _measured, wish), said, wish)
    return replace(found, no_scores=found.no_scores and _without_paths(found.no_scores, wish))


def compared(first: Wish, second: Wish) -> Likeness | None:
    """How alike the updates of two adapters are. Raises as `read`."""
    job = background.apart(("xray", first, second), _compared, first, second)
    return _waited(job, "Comparing their directions ...", first, second)


def _measured(wish: Wish) -> Adapter:
    return wish.opened().measured()


def _compared(first: Wish, second: Wish) -> Likeness | None:
    from peftcore.bench._likeness import likeness

    return likeness(first.opened(), second.opened())


def _waited(job: Job, said: str, *wishes: Wish) -> Any:
    place = st.empty()
    background.wait(job, lambda: place.caption(said), place)
    place.empty()
    try:
        found = job.result()
    except HeadroomError as error:
        raise type(error)(_without_paths(str(error), *wishes)) from None
    if isinstance(found, OverLimit):
        raise found
    return found


def _without_paths(text: str, *wishes: Wish) -> str:
    for kept in [Path(wish.path) for wish in wishes if wish.path]:
        for path in (kept, kept.parent, kept.parent.parent):
            text = text.replace(f"{path}/", "").replace(str(path), path.name)
    return text


def default(sources: Sequence[Source]) -> Source:
    """What is shown first: the newest run of this machine, else the recorded example of LoRA. What somebody dropped is
    shown to who dropped it, by the address."""
    runs = [source for source in sources if source.code.isdigit()]
    examples = [source for source in sources if source.code in gallery.names()]
    return [*runs[:1], *(one for one in examples if one.code == EXAMPLE), *examples, *sources][0]
