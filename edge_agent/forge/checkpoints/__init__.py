"""Hugging Face checkpoint folders: what they hold, read strictly and refused by name."""
