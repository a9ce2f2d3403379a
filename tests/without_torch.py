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
_REASON = "needs PyTorch, which this Python is tested without"
_COMMANDS_THAT_TRAIN = frozenset({"tests/cli/test_forge.py"})
"""Files whose tests start the command in a process of its own, where this plugin is not."""


class _Skipping:
    """Comes after all other finders, so it is asked only for what none of them has."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _MISSING:
            pytest.skip(_REASON, allow_module_level=True)
        return None


sys.meta_path.append(_Skipping())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.partition("::")[0] in _COMMANDS_THAT_TRAIN:
            item.add_marker(pytest.mark.skip(reason=_REASON))
