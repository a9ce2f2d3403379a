"""Real parts for tests: brokers and the daemon as processes."""
