"""The page Try it: an image of one's own under several runs, and classes of one's own taught from a few pictures."""
