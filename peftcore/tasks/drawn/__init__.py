"""Tasks that travel with Headroom: handwriting from scikit-learn, and pictures drawn from a seed."""
