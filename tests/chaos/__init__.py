"""Requests under faults: a seeded schedule, real parts, and a ledger that is settled at the end."""
