"""Weights → a ``.tflite`` file."""
