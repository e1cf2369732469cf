"""Files that one person's pages hold in the app's memory: each may be large, and Streamlit counts none of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit.runtime import get_instance

ROUTE = "/_stcore/upload_file/"
SHARE = 3  # of the largest upload, that one person may hold at once


class TooMuch(Exception):
    """They hold too much already, or do not say how much is to come. `status`: of the answer."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


class Held:
    """Bytes by person: what their sessions hold, and what is on its way. Of the server's own thread."""

    def __init__(self) -> None:
        self._sessions: defaultdict[str, set[str]] = defaultdict(set)
        self._coming: Counter[str] = Counter()

    @contextmanager
    def coming(self, person: str, session: str, length: str | None) -> Iterator[None]:
        """While a file comes. `length`: as its request says it. Raises TooMuch."""
        if length is None or not (length.isascii() and length.isdigit()):
            raise TooMuch(411, "Say how large the file is.")
        size, mine = int(length[:18]), self._sessions[person]
        files = stored()
        mine.intersection_update(files)
        there = sum(files[one] for one in mine) + self._coming[person]
        if there + size > SHARE * st.get_option("server.maxUploadSize") * 2**20:
            raise TooMuch(413, "Your pages hold too many files. Take some of them off, or close a page.")
        self._coming[person] += size
        try:
            yield
        finally:
            self._coming[person] -= size
            mine.add(session)


def stored() -> dict[str, int]:
    """Bytes of files by session, of those that hold some."""
    held = get_instance().uploaded_file_mgr.file_storage  # type: ignore[attr-defined]  # Streamlit's own is in memory
    return {session: sum(len(file.data) for file in list(files.values())) for session, files in list(held.items())}
