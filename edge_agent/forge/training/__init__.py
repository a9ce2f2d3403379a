"""The training loop and what it minimises: labels, a teacher, a teacher under rounding."""
