"""Ray's worker processes as runs use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peftcore.engine import worker

WARM_UP = "peftcore.engine.worker:warm_up"
# Random weights and few images: nothing has to be on the disk, and it takes little of the machine.
WARM_UP_RUN = {"method": "last", "task": "digits", "batch_size": 8, "pretrained": False, "cache_features": False}
MOST_CPUS = 4  # more threads than this gain little on the models that a workbench trains
MOST_WARM = 2  # workers that import torch before anybody asks; about 300 MB each


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
        self.slots = max(1, cpus // self.cpus_per_run)
        if gpus:
            self.slots = min(self.slots, gpus * runs_per_gpu)
        # A process that has used one GPU cannot move to another. Where there is only one, it stays and stays warm.
        calls = 1 if gpus > 1 else 0
        task = ray.remote(max_calls=calls, max_retries=0, num_cpus=self.cpus_per_run)
        self._alone, self._together = task(worker.work), task(worker.work_together)
        self._warming: list[Any] = []  # streams, kept so that Ray does not forget them

    def begin(self, function: str, settings: Mapping[str, Any], resume: bytes | None = None) -> Any:
        """Queues a run in Ray and returns the stream of `worker.work`'s batches."""
        return self._on(self._alone, settings).remote(function, dict(settings), resume, self.cpus_per_run)

    def begin_together(
        self, function: str, settings: Sequence[Mapping[str, Any]], resume: Sequence[bytes | None], group: str
    ) -> Any:
        """The same for several runs in one process, which takes as much as one run; see `worker.work_together`."""
        every = [dict(one) for one in settings]
        return self._on(self._together, every[0]).remote(function, every, list(resume), group, self.cpus_per_run)

    def _on(self, task: Any, settings: Mapping[str, Any]) -> Any:
        return task.options(num_gpus=0 if settings.get("device") == "cpu" else self.gpu_share)

    def warm_up(self, count: int = 1) -> None:
        """Lets workers import torch, and take a step, before a run comes to them."""
        self._warming += [self.begin(WARM_UP, WARM_UP_RUN) for _ in range(min(count, self.slots, MOST_WARM))]
