"""Signed updates on the device: trust, store, states. Wired by the service and the command line."""
