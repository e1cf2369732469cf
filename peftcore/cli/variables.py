"""The variables of the environment that Headroom reads, for its documentation and its report on an installation."""

from __future__ import annotations

# Variable: (default, meaning). docs/settings.md is made of it; limits on uploads are in peftcore/uploads/limits.py.
VARIABLES = {
    "HEADROOM_HOME": ("headroom in the user's data folder", "Folder of runs, uploads, data sets and features on disk."),
    "HEADROOM_WEIGHTS": ("`weights` in HEADROOM_HOME", "Folder in which pretrained weights are looked for, and kept."),
    "HEADROOM_DATA": (
        "unset: any folder",
        "Folder below which tasks and `weights` read folders and files; their paths then begin there. `none`: no "
        "folder can be named, as in an app that others can open and that has no HEADROOM_DATA.",
    ),
    "HEADROOM_CACHE_GB": ("40 % of what is free", "Most memory for frozen features, of a GPU and of the host each."),
    "HEADROOM_CACHE_DISK_GB": ("20", "Most disk space for frozen features; the least recently used go first."),
    "HEADROOM_IMAGES_GB": ("a quarter of what is free", "Most memory for decoded image files; the rest is streamed."),
    "HEADROOM_CPUS_PER_RUN": ("all, at most 4", "CPUs and threads of each run that the app or the engine starts."),
    "HEADROOM_WAITING": ("32", "Most runs that one visitor of the app may have waiting; the command line has no cap."),
    "HEADROOM_WAITING_ALL": ("256", "Most runs that may wait in all when a visitor of the app launches one."),
    "HEADROOM_RUNNING": ("unset: no cap", "Most turns of one person in a room that work at once."),
    "HEADROOM_MINUTES": ("30 in a room, else no cap", "Most minutes that a run in a room works in one turn."),
    "HEADROOM_EPOCHS": ("100 in a room, else no cap", "Most epochs of a run in a room."),
    "HEADROOM_IMAGE_SIZE": ("unset: no cap", "Most pixels of a run's `image_size` in a room."),
    "HEADROOM_RUN_MB": ("unset: no cap", "Most megabytes of a training step in a room, as predicted."),
    "HEADROOM_KEPT_MB": (
        "250 in a room, else no cap",
        "Most megabytes of adapters and predictions that one person's runs keep, and as many of their uploaded images.",
    ),
    "HEADROOM_IMAGES": ("2,000 in a room, else no cap", "Most uploaded images that one person in a room keeps."),
    "HEADROOM_ROOM": ("unset", "Set where the app has a door; `make app HOST=...` sees to it."),
    "RAY_ADDRESS": ("unset: a Ray of its own", "A Ray cluster on which runs execute."),
    "HF_ENDPOINT": ("https://huggingface.co", "The model hub, or a mirror of it."),
    "HF_TOKEN": ("unset", "Your token of the hub, for models and data sets that ask for one."),
}
