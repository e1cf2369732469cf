"""A Python script that makes the run again with peftcore."""

from __future__ import annotations

from pathlib import Path
from pprint import pformat
from typing import Any

from peftcore.cli.exports._source import Source
from peftcore.figures.method_style import method_title
from peftcore.spec import RunSpec

TITLE = "Python script"
PURPOSE = "Makes the run again with `peftcore`, on this machine or another: the same seed, the same number."
MAKES = "file"


def why_not(source: Source) -> str | None:
    return source.no_spec


def write(source: Source, folder: Path) -> Path:
    heading, cells = parts(source)
    path = folder / f"{source.name}.py"
    path.write_text(f'"""{heading}"""\n\n' + "\n\n".join(code for _, code in cells) + "\n", encoding="utf-8")
    return path


def parts(source: Source) -> tuple[str, list[tuple[str, str]]]:
    """A heading, and (what it does, code) of each part: the script and the notebook are made of them."""
    spec = source.spec
    title = f"{method_title(spec.method.name)} on {spec.task}, {spec.backbone}, seed {spec.seed}"
    made = f"Made by Headroom from {source.name}; it needs Headroom's peftcore. Run it in Headroom's folder."
    heading = f"{title}.\n\n{made}\n".replace("\\", "/").replace('"""', "'")
    known = source.summary.get("test_accuracy")
    compare = [] if known is None else [f'print(f"recorded:        {known:.4f}")']
    return heading, [
        ("Everything that decides the result.", f"import peftcore as pc\n\n{specification(spec)}"),
        ("Train; each epoch is printed.", "result = pc.run(spec)\nprint(result.epochs.to_string(index=False))"),
        (
            "The accuracy on the test images, and the trained weights as a folder.",
            "\n".join(
                [
                    'print(f"test accuracy:   {result.test_accuracy:.4f}")',
                    *compare,
                    f'pc.save_adapter("{source.name}-again", result.model, spec)',
                ]
            ),
        ),
    ]


def specification(spec: RunSpec) -> str:
    """`spec = pc.RunSpec(...)` with the method's settings, and each field that is not the default."""
    always = ("backbone", "method", "task", "epochs", "batch_size", "lr", "seed")
    values: dict[str, Any] = {
        name: value
        for name, value in spec.to_dict().items()
        if name in always or value != RunSpec.model_fields[name].default
    }
    lines = [f"    {name}={pformat(value, width=100, sort_dicts=False)},".replace("\n", "\n    ")
             for name, value in values.items()]  # fmt: skip
    return "\n".join(["spec = pc.RunSpec(", *lines, ")"])
