"""Encoders that train: their weights, their families, and how a smaller one is cut out of a larger."""
