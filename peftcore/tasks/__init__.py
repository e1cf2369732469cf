"""Tasks, one file each, in folders by the source of their images, and found by their names (see peftcore/task.py)."""

from typing import Any

from peftcore import task
from peftcore.registry import TASKS

TASKS.list_when_called(__name__)


def __getattr__(name: str) -> Any:
    """The parts of every task are defined in peftcore/task.py, and are also available here."""
    return getattr(task, name)
