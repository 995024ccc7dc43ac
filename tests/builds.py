"""Build folders whose files a test changes on purpose, sealed again as `generate` would have sealed them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from systolith.hw.manifest import CONTENTS, Manifest
from systolith.hw.sealed import sha256


def seal(folder: Path, fields: dict[str, Any]) -> None:
    """Write manifest.json with ``fields`` and the hashes of the files beside it."""
    fields = {**fields, "files": {name: sha256((folder / name).read_bytes()) for name in CONTENTS}}
    (folder / "manifest.json").write_bytes(Manifest.model_validate_json(json.dumps(fields)).to_bytes())


def rebuild(
    folder: Path, contents: Mapping[str, bytes] | None = None, change: Callable[[dict[str, Any]], Any] | None = None
) -> None:
    """Replace files of ``folder`` by name, and let ``change`` alter the manifest's fields."""
    for name, data in (contents or {}).items():
        (folder / name).write_bytes(data)
    fields = json.loads((folder / "manifest.json").read_text())
    if change:
        change(fields)
    seal(folder, fields)
