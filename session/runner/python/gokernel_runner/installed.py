"""What is installed: the metadata of the packages on sys.path.

What was read is kept, but looked at again whenever the file or folder may have
changed since: a package is there or not whatever this process has seen before.
"""

import os
import re
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from .requirement import Requirement, normal
from .versions import Unknown

_PYTHON = re.compile(r"-py[0-9.]+\Z")
# A change within this time of an earlier one need not have another time stamp, in
# nanoseconds.
_BLUR = 2_000_000_000


class _Kept:
    """Values that were made of files, as long as these are what they were."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make
        self._values: Dict[str, Tuple[Any, bool, Any]] = {}

    def get(self, path: str) -> Any:
        """Return what is made of path. Raises OSError."""
        s = os.stat(path)
        sign = (s.st_mtime_ns, s.st_size, s.st_ino, s.st_dev)
        kept = self._values.get(path)
        if kept is not None and kept[0] == sign and kept[1]:
            return kept[2]
        now = time.time_ns()
        value = self._make(path)
        self._values[path] = (sign, now - s.st_mtime_ns > _BLUR, value)
        return value


class Package:
    """An installed package: its version and what it requires."""

    __slots__ = ("place", "version", "requires")

    def __init__(self, place: str, version: str, requires: List[str]) -> None:
        self.place = place
        self.version = version
        # None for a line that is not understood.
        self.requires = [_requirement(r) for r in requires]

    def read(self, name: str) -> str:
        """Return the text of a metadata file, "" if there is none."""
        try:
            with open(os.path.join(self.place, name), encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def files(self) -> List[str]:
        """Return the files that were installed, relative to the folder that place is
        in."""
        rows = [row.rsplit(",", 2)[0].strip('"') for row in self.read("RECORD").splitlines()]
        return [row for row in rows if row]


def _requirement(text: str) -> Optional[Requirement]:
    try:
        return Requirement(text)
    except Unknown:
        return None


def metadata_in(path: str) -> Dict[str, List[str]]:
    """Return the metadata in a folder by normal name."""
    found: Dict[str, List[str]] = {}
    for entry in os.listdir(path):
        stem, dot, kind = entry.rpartition(".")
        if not dot or kind not in ("dist-info", "egg-info"):
            continue
        if kind == "egg-info":
            stem = _PYTHON.sub("", stem)
        name = normal(stem.rpartition("-")[0] or stem)
        found.setdefault(name, []).append(os.path.join(path, entry))
    return found


def _metadata(path: str) -> Package:
    """Read METADATA or PKG-INFO."""
    version = ""
    requires = []
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            if line in ("\n", "\r\n"):
                break
            key, _, value = line.partition(":")
            key = key.lower()
            if key == "version":
                version = value.strip()
            elif key == "requires-dist":
                requires.append(value.strip())
    place = os.path.dirname(path)
    if not requires and path.endswith("PKG-INFO"):
        requires = _egg_requires(os.path.join(place, "requires.txt"))
    return Package(place, version, requires)


def _egg_requires(path: str) -> List[str]:
    """Return the requirements that setuptools once wrote in sections [extra:marker]."""
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            lines = f.read().splitlines()
    except OSError:
        return []
    found = []
    condition = ""
    for line in lines:
        line = line.strip()
        if line.startswith("["):
            extra, _, marker = line.strip("[]").partition(":")
            parts = ["(%s)" % marker] if marker else []
            parts += ["extra == '%s'" % extra] if extra else []
            condition = " and ".join(parts)
        elif line and not line.startswith("#"):
            found.append("%s ; %s" % (line, condition) if condition else line)
    return found


_folders = _Kept(metadata_in)
_packages = _Kept(_metadata)


class Installed:
    """What can be imported now. For one question: it does not follow changes."""

    def __init__(self) -> None:
        self._found: Dict[str, Optional[Package]] = {}
        self._places: List[Dict[str, List[str]]] = []
        for path in sys.path:
            try:
                self._places.append(_folders.get(path or os.curdir))
            except OSError:
                continue

    def find(self, name: str) -> Optional[Package]:
        """Return the package of a normal name, or None. Raises Unknown when what is
        there does not say what it is."""
        if name in self._found:
            return self._found[name]
        package = None
        for place in self._places:
            if name in place:
                package = _read(place[name])
                if package is not None:
                    break
        self._found[name] = package
        return package


def _read(places: List[str]) -> Optional[Package]:
    found = []
    for place in places:
        paths = [os.path.join(place, "METADATA")]
        if place.endswith(".egg-info"):
            paths = [os.path.join(place, "PKG-INFO"), place]
        for path in paths:
            try:
                found.append(_packages.get(path))
                break
            except OSError:
                continue
    if len(found) > 1:
        raise Unknown("%s are of one package" % " and ".join(places))
    return found[0] if found else None
