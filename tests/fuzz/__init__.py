"""Inputs by the million: whatever arrives is answered, and costs no more than its length allows."""
