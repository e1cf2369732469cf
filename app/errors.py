"""Errors become sentences in the page: what happened and what to try. A traceback goes to the log, with a number."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import streamlit as st
from streamlit.errors import FragmentHandledException

from app.room import who
from peftcore.errors import HeadroomError, unknown

log = logging.getLogger(__name__)


@contextmanager
def sentences(stop: bool = True) -> Iterator[None]:
    """Shows an error where it happened, as `with sentences():` or above a function as `@sentences()`.

    Args:
        stop: end the page here; False goes on below the `with`.
    """
    try:
        yield
    except HeadroomError as error:
        show(error)
    except FragmentHandledException:
        raise
    except Exception as error:
        unexpected(error)
    else:
        return
    if stop:
        st.stop()


def show(error: HeadroomError | str) -> None:
    """An error that a person can mend, in place."""
    st.error(plain(str(error)), icon=":material/error:")


def no_such(kind: str, name: str | None, names: Sequence[str]) -> None:
    """Says that a link names what is not there, on the page that shows all of its kind instead; None was not named."""
    if name and name not in names:
        st.warning(plain(str(unknown(kind, name, names))), icon=":material/link_off:")


def unexpected(error: Exception) -> None:
    """An unexpected error: one sentence with a number, under which the log has its traceback."""
    number = secrets.token_hex(3)
    log.error("error %s on a page", number, exc_info=error)
    st.error(
        "This part of the page stopped at an unexpected error. Reload the page; if it comes again, the app's log (its "
        f"terminal) says under number {number} what happened.",
        icon=":material/error:",
    )


def traceback(of: str, kept: bytes | None) -> None:
    """A kept traceback, one click away; to a participant of a room only the number under which the log has it."""
    if not kept:
        return
    text = kept.decode(errors="replace")
    if who.is_alone() or who.is_teacher():
        with st.expander("Details"):
            st.code(text, language=None, wrap_lines=True)
        return
    st.caption(f"The app's log says under number {_logged(of, text)} where it stopped; the teacher can look there.")


@lru_cache(maxsize=1024)
def _logged(of: str, text: str) -> str:
    number = secrets.token_hex(3)
    log.error("error %s in %s\n%s", number, of, text)
    return number


_NAMES = "red|orange|yellow|green|blue|violet|gray|grey|rainbow|primary|small"  # of Streamlit's colours and sizes
_MARKS = re.compile(rf"[\\*_\[\]`$~#<>&|]|:(?=(?:{_NAMES})\b)")
# What is found after the marks are read, and so even where they are escaped: an address, a host, somebody's mail, an
# icon (:star:). A joiner of no width keeps their parts from each other; within an address a browser would drop it.
_LINKS = re.compile(r"(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=[\w.+-]@)(?=\w)|(?<=:)(?=[\w+/-]+:)", re.IGNORECASE)
_JOINER = "\N{WORD JOINER}"
_TURNING = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # which turn the text beside them around


def plain(text: str) -> str:
    """Text as it was typed, where Streamlit takes Markdown: what a person, a file or a link says passes through here.

    Nothing of it is a mark, a link, an image, a formula or an element of HTML. Lines become one.
    """
    return _LINKS.sub(_JOINER, _MARKS.sub(r"\\\g<0>", " ".join(_TURNING.sub("", text).split("\n"))))


def code(text: str) -> str:
    """The same as code within a line: a name or a command to be copied."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"
