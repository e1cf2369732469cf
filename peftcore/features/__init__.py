"""Frozen features, computed once: in memory or on disk, and where they fit."""

from peftcore.registry import lazily

__getattr__ = lazily(
    __name__,
    {
        "FeatureCache": "cache",
        "plan_cache": "plan",
    },
)
