"""The launch page: choices, recipe, cost, and the button."""
