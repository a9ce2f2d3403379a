"""Measuring this machine: the model alone, and the daemon on top of it."""
