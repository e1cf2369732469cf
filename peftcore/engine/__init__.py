"""Runs on Ray: queue, follow, cancel, crash, resume."""

from peftcore.engine.engine import Engine, get_engine

__all__ = ["Engine", "get_engine"]
