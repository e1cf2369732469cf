"""A frozen timm transformer: its anatomy, its weights, and how images become its inputs."""

from peftcore.registry import lazily

__getattr__ = lazily(__name__, {"backbone": "Backbone", "load": "load_backbone backbones"})
