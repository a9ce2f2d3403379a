"""A pytest plugin for a Python without PyTorch: what needs it is skipped, and says so.

``deploy/test-pythons.sh`` loads it where PyTorch is left out: its packages for one more Python are gigabytes,
and boards never train.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

_MISSING = "torch"


class _Skipping:
    """Comes after all other finders, so it is asked only for what none of them has."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _MISSING:
            pytest.skip("needs PyTorch, which this Python is tested without", allow_module_level=True)
        return None


sys.meta_path.append(_Skipping())
