"""Several runs in one process: which of them are to stop, published by the engine in a named Ray actor."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class _Stopped:
    """The actor: the runs that are to go no further, by their number within the group."""

    def __init__(self) -> None:
        self.runs: frozenset[int] = frozenset()

    def set(self, runs: Collection[int]) -> None:
        self.runs = frozenset(runs)

    def get(self) -> frozenset[int]:
        return self.runs


class Group:
    """The engine's end of a group of runs called `name`. The actor starts with the first `stop`."""

    def __init__(self, name: str):
        self.name = name
        self._actor: Any = None  # Ray ends the actor when this handle goes, with the job that holds the group

    def stop(self, runs: Collection[int]) -> None:
        """Asks the process that works on the group to leave these of its runs out."""
        import ray

        if self._actor is None:
            self._actor = ray.remote(_Stopped).options(name=self.name, num_cpus=0).remote()
        self._actor.set.remote(frozenset(runs))


def stopped(name: str) -> frozenset[int]:
    """The runs of the group's last `stop`, from any process of the cluster; empty where there was none."""
    import ray

    try:
        return frozenset(ray.get(ray.get_actor(name).get.remote()))
    except (ValueError, ray.exceptions.RayActorError):  # there is no such actor, or its process was killed
        return frozenset()
