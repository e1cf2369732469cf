"""Tasks that come with Headroom: handwriting from scikit-learn, and pictures drawn from a seed."""
