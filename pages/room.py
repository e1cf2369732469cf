"""The room: who does what and what the teacher sets; for a participant the message and the challenge."""

from app import links
from app.errors import sentences
from app.room import page, projector

with sentences():
    if links.read("view") == "projector":
        projector.draw()
    else:
        page.draw()
