"""Frozen features, computed once: in memory or on disk, and where they fit."""

from peftcore.registry import lazily

__getattr__ = lazily(__name__, {"cache": "FeatureCache", "plan": "plan_cache"})
