"""Updates on the device: what the daemon and its children do around :mod:`edge_agent.update`."""
