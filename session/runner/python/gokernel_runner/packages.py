"""%pip: packages for the session."""

import os
import shlex
import sys
import sysconfig
from typing import List, Optional, Set

from . import command

# Options of pip install with which it is not for us to say where things go.
_OWN_PLACE = (
    "--target",
    "-t",
    "--user",
    "--prefix",
    "--root",
    "--break-system-packages",
    "--dry-run",
    "--help",
    "-h",
)


def run_pip(line: str, packages: Optional[str]) -> int:
    """Run pip with the words of line. Where the environment may not be written,
    what is installed goes to the folder packages."""
    import importlib.util

    if importlib.util.find_spec("pip") is None:
        raise ModuleNotFoundError(
            "%s has no pip: install it for this interpreter (on Debian: apt install"
            " python3-pip), or use the kernel of a virtual environment" % sys.executable
        )
    words = shlex.split(line)
    folder = _folder(words, packages)
    before: Set[str] = set()
    if folder is not None:
        os.makedirs(folder, exist_ok=True)
        at = words.index("install") + 1
        words[at:at] = ["--target", folder, "--upgrade"]
        before = set(os.listdir(folder))
        sys.stdout.write(
            "The packages of %s may not be changed: installing into the session's own"
            " folder %s, which is searched first.\n" % (sys.prefix, folder)
        )
    code = command.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words])
    if code == 0 and folder is not None:
        _drop_replaced(folder, before)
    _forget_caches()
    if code == 0 and "install" in words:
        sys.stdout.write(
            "Note: %session restart is needed to use another version of a package that is"
            " imported already.\n"
        )
    return code


def _drop_replaced(folder: str, before: Set[str]) -> None:
    """Remove the metadata of versions that pip has replaced, which it leaves there."""
    import shutil

    from .installed import metadata_in

    for places in metadata_in(folder).values():
        if any(os.path.basename(place) not in before for place in places):
            for place in places:
                if os.path.basename(place) in before:
                    shutil.rmtree(place, ignore_errors=True)


def _folder(words: List[str], packages: Optional[str]) -> Optional[str]:
    """Return where an install has to go, None for where pip puts it."""
    if not packages or not words or words[0] != "install" or not _protected():
        return None
    if any(w.partition("=")[0] in _OWN_PLACE for w in words):
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
