"""A kept set from pictures that somebody took, class by class: names are text in a table, never paths or markup."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from peftcore import errors
from peftcore.uploads.division import FEWEST
from peftcore.uploads.sets import Kept, keep
from peftcore.uploads.survey import examine

TABLE = "labels.csv"
QUERY = "?val=0.1&fit=crop"  # few pictures: most of them train, a fifth is tested on


def keep_collected(pictures: Mapping[str, Sequence[bytes]], name: str) -> Kept:
    """Keeps image files by class, each as bytes, as the task upload:NAME. Copies of one picture count once.

    Raises:
        BadData: fewer than two classes, or one with fewer than three different pictures.
        StoreUnavailable: the disk is full or cannot be written to.
    """
    several = {label.strip(): list(dict.fromkeys(files)) for label, files in pictures.items()}
    if len(several) < 2 or "" in several:
        raise errors.BadData("Teaching needs at least two classes, each with a name.")
    if few := [label for label, files in several.items() if len(files) < FEWEST]:
        raise errors.BadData(
            f"{few[0]!r} has {len(several[few[0]])} different pictures; each class needs at least {FEWEST}, about ten "
            "are better."
        )
    rows = [(label, file) for label, files in several.items() for file in files]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["file", "label"])
    writer.writerows((f"{number:04}.png", label) for number, (label, _) in enumerate(rows))
    files = [(f"{number:04}.png", io.BytesIO(file)) for number, (_, file) in enumerate(rows)]
    survey = examine([(TABLE, io.BytesIO(table.getvalue().encode())), *files])
    try:
        return keep(survey, name, drop_duplicates=True, query=QUERY)
    except errors.HeadroomError:
        survey.discard()
        raise
