"""finetune(spec): one loop for every method, a generator of events; and what it is made of."""

from peftcore.registry import lazily

__getattr__ = lazily(__name__, {"loop": "finetune run Result"})
