"""Commands: what the device is told to do besides answering requests (PROTOCOL §1)."""
