"""The parts of a sitting on a GPU: what each is called, where it works, and how long it may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where parts work. `folder`: of the results; `ends`: when the sitting is over, by time.monotonic()."""

    device: str
    rehearse: bool
    folder: Path
    ends: float

    @property
    def torch(self) -> Any:
        from peftcore.train.recipe import choose_device

        return choose_device(self.device)

    @property
    def on_cuda(self) -> bool:
        return self.torch.type == "cuda"

    def large(self) -> str:
        """The backbone that memory is checked on."""
        return "vit_micro" if self.rehearse else "vit_base_patch16_224"


@dataclass(frozen=True)
class Part:
    """`work` yields a row for each thing it found, given those that are known; it raises where something is wrong.

    resumes: where it was stopped, it goes on with the rows that are missing; another part begins again.
    """

    work: Callable[[Place, list[Row]], Iterator[Row]]
    seconds: float
    resumes: bool = False


def parts(rehearse: bool = False) -> dict[str, Part]:
    """All parts in the order in which they are worth having."""
    import gpu_checks as one
    import gpu_runs as whole
    import gpu_speed

    parts = {
        "machine": Part(one.machine, 30),
        "methods": Part(one.methods, 60),
        "cache": Part(one.cache, 30),
        "ledger": Part(one.ledger, 40),
        "precision": Part(whole.precision, 30),
        "race": Part(whole.race, 30),
        "probes": Part(whole.probes, 40),
        "resume": Part(whole.resume, 30),
        "out_of_memory": Part(whole.out_of_memory, 30),
    }
    parts |= {name: Part(work, 45, resumes=True) for name, work in gpu_speed.parts(rehearse).items()}
    parts |= {"compile": Part(whole.compile, 60), "sharing": Part(whole.sharing, 90)}
    return parts | {"pretrain": Part(gpu_speed.pretrain, 600)}
