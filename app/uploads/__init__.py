"""Images of one's own: what an archive holds, and keeping it."""
