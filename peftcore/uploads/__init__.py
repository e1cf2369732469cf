"""Users' own images: archives and folders are examined, shown and kept; nothing in them can harm the machine.

    survey = uploads.examine("flowers.zip")    # unpacked beside what is kept, every image decoded once
    survey.classes, survey.sizes, survey.skipped, survey.duplicates
    kept = uploads.keep(survey, "flowers", consent=True)    # now the task upload:flowers

From the bottom up: limits (settings), names (safe ones), owned (a folder for each person), encodings (guessed where a
zip or table does not state one), intake (into a folder, within the limits), kinds (what counts as an image), splits
(names that mean train, val or test), archives (zips, tars), table (a CSV of labels), layout (the class of each image),
pictures (decoding), images (checking one; keeping one for the probes), looking (at every image), survey (what an upload
holds), division (train, val, test), sets (what is kept), collected (pictures taken class by class).
"""

from peftcore.registry import lazily

__getattr__ = lazily(
    __name__,
    {
        "limits": "Limits",
        "survey": "Survey examine",
        "sets": "Kept keep kept remove",
        "images": "clean_picture keep_picture picture",
        "collected": "keep_collected",
    },
)
