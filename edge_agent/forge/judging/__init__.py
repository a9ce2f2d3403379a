"""Finished models → figures, calibrated and compared, and the bundle that ships."""
