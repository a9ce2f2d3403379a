"""Home Assistant: the written schema of what it is told, and, where there is one, the real thing."""
