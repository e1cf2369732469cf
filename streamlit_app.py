"""The app: its server, with which the engine begins, and its pages. Its place puts `peftcore` and `app` on the path.

streamlit run streamlit_app.py
"""

import streamlit as st

from app import errors, links, navigation, room, settled, state, theme, tour
from app.room import banner, who

if __name__ == "__main__":  # a page is drawn
    st.set_page_config(page_title="Headroom", page_icon="assets/icon.png", layout="wide")
    page = st.navigation(navigation.pages(), position="top")
    links.receive(page.url_path)
    theme.apply()
    room.confine()
    who.admit()
    banner.draw(page.url_path)
    with errors.sentences():
        tour.draw(page.url_path)
        page.run()
    links.send()
    settled.settle()
else:  # the server begins
    app = st.App("streamlit_app.py", lifespan=state.lifespan)
