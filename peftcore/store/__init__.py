"""Runs, their events and their artifacts in one SQLite file."""

from peftcore.store.runs import ENDED, STATUSES, WAITING, RunRecord, Store

__all__ = ["ENDED", "STATUSES", "WAITING", "RunRecord", "Store"]
