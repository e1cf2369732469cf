"""The X-ray page: an adapter that somebody trained, whatever wrote it, by its weights alone."""
