"""What imports have made is left out of garbage collection.

With PyTorch imported a full collection looks through some 400,000 objects that live as long as the app does, a fifth of
a second in which no page is drawn. Streamlit makes one after each run of a script unless `runner.postScriptGC` is off,
as it is in .streamlit/config.toml; Python makes one now and then.
"""

from __future__ import annotations

import gc
import sys
import threading

MANY = 40  # modules: so many new ones are worth to be left out as well
_seen = 0
_lock = threading.Lock()


def settle() -> bool:
    """At the end of a page: where many modules were imported since the last time, nothing that lives now is looked
    through again. Returns whether that was so."""
    global _seen
    with _lock:
        if len(sys.modules) - _seen < MANY:
            return False
        _seen = len(sys.modules)
        gc.collect()
        gc.freeze()
        return True
