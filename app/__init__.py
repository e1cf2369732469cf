"""What pages are built of. Streamlit lives here and in `pages`, nowhere else.

A new server takes a folder called `pages` for its own kind of app and, where the first visitor comes by a link such as
`/runs?run=3`, runs that page without the entry script. That is mended here, before any page draws.
"""

import os

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

# OpenMP reads it as torch is imported. Threads that wait for each other must not spin: beside one other process on two
# cores, that took a page eleven times as long as one thread needs (17.7 s for the features of 400 digits).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if PagesManager.uses_pages_directory is not False:
    came_by_a_page = PagesManager.uses_pages_directory  # None: the server has just begun, and nobody has come
    PagesManager.uses_pages_directory = False
    if came_by_a_page:
        st.rerun()
