"""One test for each line of the threat list in ``docs/security.md``, with real brokers and real daemons."""
