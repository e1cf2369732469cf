"""The command that lists the runs of the store and marks them, archives them, or deletes them with a way back."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from peftcore import errors
from peftcore.cli.output import JSON, answer
from peftcore.store import STATUSES, RunRecord, Store, listing, marks

PER_PAGE = 25


def runs(
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers of runs that are changed, or shown.")] = None,
    search: Annotated[
        str, typer.Option(help="Words that all occur in the name, note, tags, method, task, ...; or rank=8.")
    ] = "",
    status: Annotated[list[str] | None, typer.Option(help="Only runs of this status; may be repeated.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only runs of this method; may be repeated.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only runs on this task; may be repeated.")] = None,
    owner: Annotated[
        list[str] | None, typer.Option(help="Only runs of this person, '' being the machine's own; may be repeated.")
    ] = None,
    tagged: Annotated[list[str] | None, typer.Option(help="Only runs with this tag; may be repeated.")] = None,
    starred: Annotated[bool, typer.Option("--starred", help="Only runs with a star.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="The archive in place of the list.")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="What was deleted and can be restored.")] = False,
    page: Annotated[int, typer.Option(min=1, help=f"Which page, of {PER_PAGE} runs or races each.")] = 1,
    name: Annotated[str | None, typer.Option(help="Gives the runs this name; '' takes it away.")] = None,
    note: Annotated[str | None, typer.Option(help="Gives the runs this note; '' takes it away.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Adds a tag; may be repeated.")] = None,
    untag: Annotated[list[str] | None, typer.Option(help="Takes a tag away; may be repeated.")] = None,
    star: Annotated[bool | None, typer.Option("--star/--no-star", help="Gives or takes the star.")] = None,
    archive: Annotated[bool | None, typer.Option("--archive/--no-archive", help="Puts runs away, or back.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Deletes; --restore brings back, for a week.")] = False,
    restore: Annotated[bool, typer.Option("--restore", help="Brings back what was deleted.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Forgets all deleted runs now, for good.")] = False,
    json: JSON = False,
) -> None:
    """List the runs of the store, search and filter them; or name, tag, star, archive, delete and restore some."""
    store, chosen = Store(), list(numbers or ())
    changes = {"name": name, "note": note, "starred": star}
    changing = any(change is not None for change in (*changes.values(), archive)) or tag or untag or delete or restore
    if purge and (chosen or changing):
        raise errors.InvalidSetting("--purge forgets all that was deleted, for good; it stands alone, without runs.")
    if purge:
        gone = marks.purge(store, days=0)
        return answer(json, {"purged": gone}, "Forgotten for good", [{"run": run} for run in gone])
    if changing and not chosen:
        raise errors.InvalidSetting("Name the runs to change, as in: python -m peftcore runs 12 13 --star.")
    if changing:
        _change(store, chosen, changes, tag or [], untag or [])
        if archive is not None:
            marks.archive(store, chosen, archive)
        if delete:
            marks.delete(store, chosen)
        if restore:
            marks.restore(store, chosen)
    if chosen:
        return _tell(json, [store.run(run) for run in chosen], "Runs")
    if strange := [one for one in status or () if one not in STATUSES]:
        raise errors.unknown("status", strange[0], STATUSES)
    shelf: listing.Shelf = "deleted" if deleted else "archived" if archived else "current"
    wanted = listing.Filter(
        search, tuple(status or ()), tuple(method or ()), tuple(task or ()), owner=tuple(owner or ()),
        tag=tuple(tagged or ()), starred=starred, shelf=shelf,
    )  # fmt: skip
    found = listing.page(store, wanted, PER_PAGE, page - 1)
    pages = max(1, -(-found.total // PER_PAGE))
    _tell(
        json, [record for entry in found.entries for record in entry], f"Page {page} of {pages}, runs: {found.runs:,}"
    )


def _change(store: Store, chosen: list[int], changes: dict[str, Any], more: list[str], less: list[str]) -> None:
    marks.mark(store, chosen, **changes)
    for run in chosen if more or less else ():
        taken = {tag for text in less for tag in marks.tags_of(text)}
        tags = [tag for text in (*store.run(run).tags, *more) for tag in marks.tags_of(text)]
        marks.mark(store, [run], tags=[tag for tag in tags if tag not in taken])


def _tell(as_json: bool, records: list[RunRecord], title: str) -> None:
    value = [
        {
            name: getattr(record, name)
            for name in (
                "id", "name", "note", "tags", "starred", "status", "error", "race", "owner", "created", "started",
                "finished", "archived", "deleted", "spec", "summary",
            )
        }
        for record in records
    ]  # fmt: skip
    rows = [
        {
            "run": record.id,
            "name": ("★ " if record.starred else "") + record.name,
            **({"owner": record.owner} if any(one.owner for one in records) else {}),
            "status": "deleted" if record.deleted else record.status,
            "method": record.spec["method"]["name"],
            "task": record.spec["task"],
            "backbone": record.spec["backbone"],
            "test": f"{record.summary['test_accuracy']:.3f}" if "test_accuracy" in record.summary else "",
            "tags": ", ".join(record.tags),
        }
        for record in records
    ]
    answer(as_json, value, title, rows)
