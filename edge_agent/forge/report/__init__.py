"""A run's figures for people: pages, tables and plots."""
