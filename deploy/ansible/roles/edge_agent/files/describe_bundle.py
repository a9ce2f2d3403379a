#!/usr/bin/env python3
"""Prints what a bundle says that it is, as JSON: name, version, digest of bundle.json, and if it is a folder.

Nothing of it is checked here; the device does that.
"""

import hashlib
import json
import sys
import zipfile
from pathlib import Path


def main() -> None:
    """Reads the bundle that the only argument names."""
    path = Path(sys.argv[1])
    try:
        if path.is_dir():
            raw = (path / "bundle.json").read_bytes()
        else:
            with zipfile.ZipFile(path) as archive:
                raw = archive.read("bundle.json")
        manifest = json.loads(raw)
        name, version = manifest["name"], manifest["version"]
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        sys.exit(f"{path} is no bundle; remedy: name an .edgemodel file or a folder with a bundle.json")
    digest = hashlib.sha256(raw).hexdigest()
    json.dump({"name": name, "version": version, "digest": digest, "is_folder": path.is_dir()}, sys.stdout)


if __name__ == "__main__":
    main()
