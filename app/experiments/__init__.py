"""The experiments' page: what the papers left open, what was measured for it, and the button that measures it here."""
