"""%pip: packages for the session."""

import os
import shlex
import sys
import sysconfig
from typing import List, Optional

from . import command


def run(line: str, packages: Optional[str]) -> int:
    """Run pip with the words of line. Where the environment may not be written,
    what is installed goes to the folder packages."""
    words = shlex.split(line)
    folder = _folder(words, packages)
    if folder is not None:
        os.makedirs(folder, exist_ok=True)
        use(folder)
        at = words.index("install") + 1
        words[at:at] = ["--target", folder, "--upgrade"]
        sys.stdout.write(
            "The packages of %s may not be changed: installing into the session's own"
            " folder %s, which is searched first.\n" % (sys.prefix, folder)
        )
    code = command.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words])
    _forget_caches()
    if code == 0 and "install" in words:
        sys.stdout.write("Note: restart the session to use another version of a package"
                         " that is imported already.\n")
    return code


def use(folder: str) -> None:
    """Search folder before the interpreter's own packages."""
    if folder in sys.path:
        return
    at = len(sys.path)
    for i, entry in enumerate(sys.path):
        if entry.endswith(("site-packages", "dist-packages")):
            at = i
            break
    sys.path.insert(at, folder)


def _folder(words: List[str], packages: Optional[str]) -> Optional[str]:
    """Return where an install has to go, None for where pip puts it."""
    if not packages or not words or words[0] != "install" or not _protected():
        return None
    own = ("--target", "-t", "--user", "--prefix", "--root", "--break-system-packages",
           "--dry-run", "--help", "-h")
    if any(w.split("=", 1)[0] in own for w in words):
        return None
    return packages


def _protected() -> bool:
    """Tell whether pip may not write to the interpreter's environment."""
    if sys.prefix == sys.base_prefix:
        marker = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
        if os.path.exists(marker):
            return True
    place = sysconfig.get_path("purelib")
    while place and not os.path.exists(place):
        place = os.path.dirname(place)
    return not os.access(place or "/", os.W_OK)


def _forget_caches() -> None:
    import importlib

    importlib.invalidate_caches()
