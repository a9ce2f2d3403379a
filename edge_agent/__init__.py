"""Private language understanding on small devices.

The Python interface is two lines, without broker or daemon::

    with edge_agent.load("models/home") as model:
        print(model.predict("apaga la luz de la cocina"))

Importing this package is cheap: NumPy and the TFLite runtime are imported by :func:`load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.inference.model import Model

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def load(path: str | Path, *, threads: int = 1) -> Model:
    """Load a model bundle, ready to answer.

    Args:
        path: the bundle's folder, or an ``.edgemodel`` zip.
        threads: of the runtime; one is best unless cores are free for more.

    Returns:
        A model whose golden sentences came out right on this machine; close it, or use ``with``.

    Raises:
        BundleError: the bundle is missing, altered, foreign or of an unknown format.
        GoldenError: the bundle is intact and answers wrongly on this machine.
        RuntimeFailure: there is no TFLite runtime, or it failed.
    """
    from edge_agent.inference.model import Model

    return Model.load(path, threads=threads)
