"""What ``deploy`` ships, run as it is: only paths and ports are those of the test."""
