"""Loads bundles by the daemon's own code and answers golden sentences; runs on the emulated machine.

Prints one JSON object: ``machine`` and ``import_seconds``, and for each bundle what serves it and what it
answers to its first golden sentences.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

ASKED = 8


def main() -> None:
    begun = time.monotonic()
    from edge_agent.service.models import BundleLoader

    imported = time.monotonic() - begun
    loaded = [look_into(BundleLoader(threads=1), Path(folder)) for folder in sys.argv[1:]]
    json.dump({"machine": platform.machine(), "import_seconds": imported, "models": loaded}, sys.stdout)


def look_into(loader: Any, folder: Path) -> dict[str, Any]:
    """Loading runs all golden sentences; it raises where one comes out differently."""
    begun = time.monotonic()
    served = loader.load(folder)
    seconds = time.monotonic() - begun
    answers = [served.model.predict(canary.text) for canary in served.canaries[:ASKED]]
    return {
        "name": served.name,
        "runtime": str(served.model.runtime),
        "file": served.model.variant.file,
        "golden_sentences": len(served.canaries),
        "load_seconds": seconds,
        "answers": [[answer.label, answer.confidence] for answer in answers],
    }


if __name__ == "__main__":
    main()
