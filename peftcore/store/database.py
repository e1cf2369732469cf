"""One SQLite file shared by many threads and processes: its connections, transactions and error sentences."""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from peftcore import errors
from peftcore.home import home

REASONS = {  # by SQLite's name of the error: what happened, and what to do
    "SQLITE_FULL": ("the disk is full", "Free some space"),
    "SQLITE_IOERR": ("reading or writing it failed", "See whether the disk is full or gone"),
    "SQLITE_BUSY": ("another program keeps it locked", "Close that program and try again"),
    "SQLITE_READONLY": ("it may not be written", "Give yourself write permission"),
    "SQLITE_CANTOPEN": ("it cannot be opened", "Check the folder and its permissions"),
    "SQLITE_NOTADB": ("it is not an SQLite file", "Move it away"),
    "SQLITE_CORRUPT": ("it is damaged", "Move it away"),
}


class Database:
    """The SQLite file `path`, in WAL mode, with the tables of `schema`.

    Args:
        changes: what each later format added to the one before it. A new file is of the newest format, made by
            `schema` alone; an older one is brought there.

    Raises:
        StoreUnavailable: the file cannot be read or written, or a newer program wrote it.
    """

    def __init__(self, path: Path, schema: str, changes: Sequence[str] = ()):
        self.path = path
        # Connections are lent, not tied to threads: threads that serve one page view come and go by the thousand.
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            why = f"its folder cannot be made ({error.strerror})"
            raise errors.StoreUnavailable(self._sentence(why, "Give yourself write permission there")) from None
        _keep_private(path)
        self._prepare(schema, changes)

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lends a connection; SQLite's errors come out as sentences."""
        try:
            try:
                db = self._idle.get_nowait()
            except queue.Empty:
                db = self._connect()
            try:
                yield db
            finally:
                self._idle.put(db)
        except sqlite3.Error as error:
            name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
            why, remedy = REASONS.get(name, (f"SQLite says {str(error)!r}", "Try again"))
            raise errors.StoreUnavailable(self._sentence(why, remedy)) from error
        except UnicodeEncodeError as error:  # bytes of a terminal that is not UTF-8
            raise errors.InvalidSetting(f"{error.object!r} is not text in Unicode; type it again.") from None
        except OverflowError:  # of more than 64 bits
            raise errors.UnknownName("There is no run of that number; it is larger than any can be.") from None

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Lends a connection in one transaction: all of it is written or, after an error, nothing."""
        with self.read() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # a full disk has rolled it back already
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Closes the connections that nobody uses now; later calls open new ones."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=20, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = NORMAL")  # with WAL: nothing is lost when the program dies
        return db

    def _prepare(self, schema: str, changes: Sequence[str]) -> None:
        known = 1 + len(changes)
        with self.read() as db:
            for attempt in range(50):
                try:
                    db.execute("PRAGMA journal_mode = WAL")
                    break
                except sqlite3.OperationalError:  # two first openers: the switch does not wait for the lock
                    if attempt == 49:
                        raise
                    time.sleep(0.1)
        with self.write() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > known:
                raise errors.StoreUnavailable(
                    f"{self.path} was written by a newer Headroom (format {version}; this one knows up to "
                    f"{known}); update Headroom, or set HEADROOM_HOME to another folder."
                )
            for part in changes[version - 1 :] if version else [schema]:
                for statement in part.split(";"):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {known}")

    def _sentence(self, why: str, remedy: str) -> str:
        return f"Runs cannot be kept in {self.path}: {why}. {remedy}, or set HEADROOM_HOME to another folder."


def _keep_private(path: Path) -> None:
    """Whoever else has an account on the machine reads nobody's runs: SQLite gives its other files the same mode.

    A file that is there already is not opened: to close it would drop the locks of this process' other connections to
    it (POSIX), and the next program that closes it would delete the log to which they write.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # fails where it exists, unopened
    with contextlib.suppress(OSError):  # somebody else's, or on a disk that knows no modes
        path.chmod(0o600)
        if path.parent == home():
            path.parent.chmod(0o700)
