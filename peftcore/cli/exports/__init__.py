"""Exports: what can be taken away from a run or a trained model. One file per kind, found by its name.

A kind's file has the constants TITLE, PURPOSE (what the export is for) and MAKES ("file" or "folder"), LOADS = True
where it loads the trained model, and

    why_not(source) -> str | None       a sentence where this source cannot be exported so; reads no weights
    write(source, folder) -> Path       writes a file or a folder into `folder` and returns it

`source` is a Source (_source.py). Files whose name starts with an underscore are shared tools, not kinds. The command
line and a run's page list whatever is here.
"""

from __future__ import annotations

from peftcore.registry import lazily

__getattr__ = lazily(__name__, {"_export": "export as_bytes EXPORTS kinds Kind", "_source": "Source"})
