"""Fakes: classes that implement a production protocol and are tested themselves."""
