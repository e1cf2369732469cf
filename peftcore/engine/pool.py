"""Ray's worker processes as runs use them."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peftcore import errors
from peftcore.engine import sizes, worker

WARM_UP = "peftcore.engine.worker:warm_up"
# Random weights and few images: nothing has to be on the disk, and it takes little of the machine.
WARM_UP_RUN = {"method": "last", "task": "digits", "batch_size": 8, "pretrained": False, "cache_features": False}
MOST_CPUS = 4  # more threads than this gain little on the models that a workbench trains
MOST_WARM = 2  # workers that import torch before anybody asks; about 300 MB each


@dataclass(frozen=True)
class Need:
    """Bytes that a run, or several in one process, ask for; `gpu` None where they use none."""

    memory: int = 0
    gpu: int | None = None
    peak: int = 0  # of a training step, as predicted


class Pool:
    """Ray's worker processes as runs use them: how much each run takes, how many work at once, and a warm one ready.

    Args:
        cpus_per_run: CPUs and threads of each run; 0: all that there are, at most MOST_CPUS.
        runs_per_gpu: how many runs share one GPU, where there is one.
    """

    def __init__(self, cpus_per_run: int, runs_per_gpu: int):
        import ray

        cpus, gpus = (int(ray.cluster_resources().get(name, 0)) for name in ("CPU", "GPU"))
        self.cpus_per_run = max(1, min(cpus_per_run or MOST_CPUS, cpus))
        self.gpu_share = 1 / runs_per_gpu if gpus else 0
        self.runs_per_gpu = runs_per_gpu
        # A process that has used one GPU cannot move to another. Where there is only one, it stays and stays warm.
        calls = 1 if gpus > 1 else 0
        task = ray.remote(max_calls=calls, max_retries=0, num_cpus=self.cpus_per_run)
        self._alone, self._together = task(worker.work), task(worker.work_together)
        self._predict = ray.remote(max_calls=0, max_retries=0, num_cpus=0)(worker.predict)
        self.measure()
        self.gpu_memory = _gpu_memory() if gpus else None
        self._warming: list[Any] = []  # streams, kept so that Ray does not forget them

    def measure(self) -> None:
        """How many runs work at once, and the largest machine's memory: a cluster grows and shrinks."""
        import ray

        cpus, gpus = (int(ray.cluster_resources().get(name, 0)) for name in ("CPU", "GPU"))
        self.slots = max(1, cpus // self.cpus_per_run)
        if gpus:
            self.slots = min(self.slots, gpus * self.runs_per_gpu)
        self.memory = max((int(node["Resources"].get("memory", 0)) for node in ray.nodes() if node["Alive"]), default=0)

    def predict(self, settings: Mapping[str, Any]) -> Any:
        """Begins a prediction of a run's memory and returns Ray's reference to it: see `worker.predict`."""
        return self._predict.remote({**settings, "device": self._device(settings)})

    def need(self, settings: Mapping[str, Any], predicted: Mapping[str, int]) -> Need:
        """What a run asks for that takes so many bytes by component, and `peak`."""
        if not predicted:
            return Need(gpu=0 if self._device(settings) != "cpu" else None)
        peak = predicted["peak"]
        if self._device(settings) == "cpu":
            return Need(sizes.PROCESS_BYTES + peak, None, peak)
        return Need(sizes.PROCESS_BYTES, peak, peak)

    def refusal(self, need: Need) -> errors.OutOfMemory | None:
        """Why a run never fits on any machine; None where it does."""
        if need.gpu and self.gpu_memory:
            return sizes.refusal(need.gpu, need.peak, self.gpu_memory, "a GPU here has")
        return sizes.refusal(need.memory, need.peak, self.memory, "the machine has") if self.memory else None

    def _device(self, settings: Mapping[str, Any]) -> str:
        device = str(settings.get("device", "cpu"))
        return ("cuda" if self.gpu_share else "cpu") if device == "auto" else device

    def begin(
        self, function: str, settings: Mapping[str, Any], resume: bytes | None = None, need: Need | None = None
    ) -> Any:
        """Queues a run in Ray and returns the stream of `worker.work`'s batches."""
        return self._on(self._alone, settings, need).remote(function, dict(settings), resume, self.cpus_per_run)

    def begin_together(
        self,
        function: str,
        settings: Sequence[Mapping[str, Any]],
        resume: Sequence[bytes | None],
        group: str,
        need: Need | None = None,
    ) -> Any:
        """The same for several runs in one process, which takes as much as one run; see `worker.work_together`."""
        every = [dict(one) for one in settings]
        return self._on(self._together, every[0], need).remote(function, every, list(resume), group, self.cpus_per_run)

    def _on(self, task: Any, settings: Mapping[str, Any], need: Need | None) -> Any:
        need, share = need or Need(), 0 if settings.get("device") == "cpu" else self.gpu_share
        if share and need.gpu and self.gpu_memory:  # of a GPU's memory, in hundredths, as much as it takes
            share = max(share, min(1.0, math.ceil(100 * need.gpu / self.gpu_memory) / 100))
        return task.options(num_gpus=share, memory=need.memory) if need.memory else task.options(num_gpus=share)

    def warm_up(self, count: int = 1) -> None:
        """Lets workers import torch, and take a step, before a run comes to them."""
        self._warming += [self.begin(WARM_UP, WARM_UP_RUN) for _ in range(min(count, self.slots, MOST_WARM))]


def _gpu_memory() -> int | None:
    """Bytes of the smallest GPU of this machine; None where nobody tells."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return min((int(line) * 2**20 for line in said.split() if line.isdigit()), default=None)
