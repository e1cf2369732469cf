"""Users' own images: archives and folders are examined, shown, and kept; nothing they hold can harm the machine.

    survey = uploads.examine("flowers.zip")    # unpacked beside what is kept, every image decoded once
    survey.classes, survey.sizes, survey.skipped, survey.duplicates
    kept = uploads.keep(survey, "flowers", consent=True)    # now the task upload:flowers

From the bottom: limits (settings), names (of files that others chose), encodings (of names and tables that do not say
theirs), intake (into a folder, within the limits), kinds (what is an image), splits (what names one), archives (zips,
tars), table (a CSV of labels), layout (which image is of which class), pictures (decoding), images (whether one is
whole; one for the probes), survey (what an upload holds), division (train, val, test), sets (what is kept).
"""

from peftcore.registry import lazily

__getattr__ = lazily(
    __name__,
    {"limits": "Limits", "survey": "Survey examine", "sets": "Kept keep kept remove", "images": "keep_picture picture"},
)
