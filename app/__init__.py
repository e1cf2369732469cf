"""What pages are built of. Streamlit lives here and in `pages`, nowhere else.

A new server takes a folder called `pages` for its own kind of app and, where the first visitor comes by a link such as
`/runs?run=3`, runs that page without the entry script. That is mended here, before any page draws.
"""

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

if PagesManager.uses_pages_directory:
    PagesManager.uses_pages_directory = False
    st.rerun()
