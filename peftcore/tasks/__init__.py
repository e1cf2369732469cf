"""Tasks, one file each, in folders by where their images come from; each is found by its name (see peftcore/task.py)."""

from typing import Any

from peftcore import task
from peftcore.registry import TASKS

TASKS.list_when_called(__name__)


def __getattr__(name: str) -> Any:
    """What every task is made of stands in peftcore/task.py, and is found here too."""
    return getattr(task, name)
