"""Tasks, one file each, in folders by where their images come from; each is found by its name (see peftcore/task.py)."""

from peftcore.registry import TASKS

TASKS.list_when_called(__name__)
