"""cowgate's own packages, built from the checkout as it stands: hooks/build-release makes those of a commit."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build(kind: str, place: Path, version: str = "", later: str = "") -> Path:
    """A deb or rpm in the new directory `place`; `later` is one more file of the Python package."""
    place.mkdir()
    release = runpy.run_path(str(ROOT / "hooks" / "build-release"))["Release"](str(ROOT), str(place / "out"), 0)
    release.version = version or release.version
    tree = release.stage()
    if later:
        (Path(tree) / "usr/lib/cowgate/cowgate" / later).write_text("")
    {"deb": release.deb, "rpm": release.rpm}[kind](tree)
    (built,) = (place / "out").glob(f"*.{kind}")
    return built
