"""Files of newcomers: what is missing or taken is said in a sentence that names the file."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from peftcore import errors
from peftcore.bench.experiments import EXPERIMENTS
from peftcore.cli.exports import EXPORTS
from peftcore.registry import METHODS, TASKS, Facts, Registry, _facts
from peftcore.task import Split, Task

METHOD = """
from peftcore.methods import Method

class Mine(Method):
    name = "mine"
    title = "Mine"
    kind = "side"

METHOD = Mine
"""


@pytest.mark.parametrize("added", [(1, 2), (2, 1)])
def test_of_two_files_of_one_name_none_wins(tmp_path: Path, monkeypatch, added):
    """Neither in two folders of the package nor in two that are added."""
    registry = Registry("methods", "method")
    registry.folders = [tmp_path / str(number) for number in added]
    for folder in registry.folders:
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "mine.py").write_text(METHOD)
    with pytest.raises(errors.InvalidSetting, match=r"mine\.py and .*mine\.py are both the method 'mine'; rename one"):
        registry.names()


def test_facts_may_have_their_types_beside_them(tmp_path: Path):
    typed = METHOD.replace("title =", "title: ClassVar[str] =").replace("METHOD =", "METHOD: type[Method] =")
    (tmp_path / "mine.py").write_text(typed)
    assert _facts(tmp_path / "mine.py") == Facts("mine", "Mine", "side")


TASK = """
TITLE, DESCRIPTION, GROUP, CLASSES, SOURCE = "Mine", "Of mine.", "natural", ("a", "b"), "here"

def load(argument): ...
"""


@pytest.mark.parametrize(
    "registry, source, says",
    [
        (TASKS, TASK.replace(", SOURCE", "").replace(', "here"', ""), "mine.py has no SOURCE; a task has TITLE, DESC"),
        (TASKS, TASK.replace("def load", "def loads"), "has no load"),
        (TASKS, TASK + "import nowhere_at_all", "cannot be imported: ModuleNotFoundError: No module named 'nowhere_at"),
        (TASKS, "def load(", "cannot be imported: SyntaxError: '(' was never closed"),
        (METHODS, METHOD + "raise KeyError('x')", "cannot be imported: KeyError: 'x'."),
        (EXPERIMENTS, "X = 1", "mine.py has no EXPERIMENT"),
        (EXPORTS, "TITLE = PURPOSE = ''", "mine.py has no MAKES; a kind of export has TITLE, PURPOSE, MAKES"),
    ],
)
def test_a_file_that_lacks_something_is_named(tmp_path: Path, monkeypatch, registry: Registry, source, says):
    package = importlib.import_module(f"peftcore.{registry.package}")
    monkeypatch.setattr(package, "__path__", [*package.__path__])
    monkeypatch.setattr(registry, "folders", [*registry.folders])
    (tmp_path / "mine.py").write_text(source)
    try:
        registry.add_folder(tmp_path)
        with pytest.raises(errors.InvalidSetting) as refusal:
            registry.load("mine")
        assert says in str(refusal.value) and str(tmp_path / "mine.py") in str(refusal.value)
    finally:
        del registry._files
        sys.modules.pop(f"peftcore.{registry.package}.mine", None)


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 3], [0, -1, 1], [0, 1], [0, 1, 2, 2], [0.0, 1.0, 2.0], [[0], [1], [2]], ["a", "b", "c"]],
)
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_labels_that_do_not_fit_are_refused_with_the_task(labels, part):
    images = np.zeros((3, 4, 4, 3), np.uint8)
    splits = dict.fromkeys(("train", "val", "test"), Split(images, np.array([0, 1, 2])))
    about = ("mine", "Mine", "", "natural", ("a", "b", "c"))
    assert Task(*about, **splits, source="").classes == ("a", "b", "c")
    says = f"'mine': its {part} split needs 3 labels, a whole number from 0 to 2 for each"
    with pytest.raises(errors.BadData, match=says):
        Task(*about, **splits | {part: Split(images, np.array(labels))}, source="")
