"""Errors become sentences in the page: what happened and what to try; a traceback only on request."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit.errors import FragmentHandledException

from peftcore.errors import HeadroomError

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
        log.exception("a page failed")
        unexpected(error)
    else:
        return
    if stop:
        st.stop()


def show(error: HeadroomError | str) -> None:
    """An error that a person can mend, in place."""
    st.error(plain(str(error)), icon=":material/error:")


def unexpected(error: Exception) -> None:
    """An error that nobody foresaw: one sentence, and its traceback for those who open it."""
    st.error(
        f"This part of the page stopped at an unexpected {type(error).__name__}. Reload the page; "
        "if it comes again, the details below say where it happened.",
        icon=":material/error:",
    )
    with st.expander("Details"):
        st.code("".join(traceback.format_exception(error)), language=None, wrap_lines=True)


def plain(text: str) -> str:
    """Text that holds file names and numbers, safe in Markdown."""
    for mark in ("\\", "*", "_", "[", "]", "`", "$", "~", "#", "<", ">"):
        text = text.replace(mark, "\\" + mark)
    return text.replace("://", "\\://")  # an address that becomes a link would show the marks' backslashes
