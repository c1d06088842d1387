"""Which packages are there already: the answer to what the agent asks."""

import importlib
import json
import sys
from typing import Any, Dict, List, Set, Tuple

from .installed import Installed, Package
from .requirement import Requirement, normal
from .versions import Unknown


def answer(content: Dict[str, Any]) -> Dict[str, Any]:
    """Answer the question {"packages": [specifier], "changed": [name]}. With changed,
    those packages were installed just now: what is asked for itself has to be there,
    not again all that it requires, and modules of them that were imported before are
    named."""
    packages = [str(p) for p in content.get("packages") or ()]
    changed = content.get("changed")
    if changed is None:
        return {"missing": missing(packages)}
    importlib.invalidate_caches()
    return {"missing": missing(packages, deep=False), "imported": imported(changed)}


def missing(packages: List[str], deep: bool = True) -> List[str]:
    """Return those of packages that are not satisfied. One of which that cannot be
    told is missing. With deep, what they require has to be there as well."""
    check = _Check(deep)
    return [p for p in packages if not check.satisfied(p)]


class _Check:
    def __init__(self, deep: bool) -> None:
        self._installed = Installed()
        self._deep = deep

    def satisfied(self, text: str) -> bool:
        try:
            requirement = Requirement(text)
            return not requirement.applies() or self._is_there(requirement, set())
        except Unknown:
            return False

    def _is_there(self, requirement: Requirement, seen: Set[Tuple[str, str]]) -> bool:
        """Tell whether a requirement that applies is satisfied. What is in seen is
        looked at already."""
        package = self._installed.find(requirement.name)
        if package is None or not requirement.allows(package.version):
            return False
        if requirement.url is not None and not _came_from(package, requirement.url):
            return False
        if not self._deep:
            return True
        for extra in ("", *sorted(requirement.extras)):
            if (requirement.name, extra) in seen:
                continue
            seen.add((requirement.name, extra))
            for needed in package.requires:
                if needed is None:
                    raise Unknown("%s requires what is not understood" % requirement.name)
                if needed.applies(extra) and not self._is_there(needed, seen):
                    return False
        return True


def _came_from(package: Package, url: str) -> bool:
    """Tell whether a package was installed from this URL (PEP 610)."""
    try:
        origin = json.loads(package.read("direct_url.json"))
    except ValueError:
        return False
    if not isinstance(origin, dict):
        return False
    url, _, fragment = url.partition("#")
    wanted = dict(part.partition("=")[::2] for part in fragment.split("&") if part)
    if wanted.get("subdirectory", "") != (origin.get("subdirectory") or ""):
        return False
    kind, plus, rest = url.partition("+")
    if plus and kind == "git":
        at, _, revision = rest.rpartition("@") if "@" in rest else (rest, "", "")
        vcs = origin.get("vcs_info") or {}
        known = (vcs.get("requested_revision"), vcs.get("commit_id"))
        return origin.get("url") == at and (revision in known if revision else not known[0])
    archive = origin.get("archive_info") or {}
    hashes = dict(archive.get("hashes") or {})
    name, _, value = str(archive.get("hash") or "").partition("=")
    hashes.setdefault(name, value)
    if any(hashes.get(n, v) != v for n, v in wanted.items() if n in ("sha256", "sha384", "sha512")):
        return False
    return str(origin.get("url")).partition("#")[0] == url


def imported(names: Any) -> List[str]:
    """Return those of the packages of which modules are imported already."""
    installed = Installed()
    found = []
    for name in names:
        try:
            package = installed.find(normal(str(name)))
        except Unknown:
            continue
        if package is not None and any(m in sys.modules for m in map(_module, package.files())):
            found.append(str(name))
    return found


def _module(path: str) -> str:
    """Return the name of the module that a file is, "" if it is none."""
    stem, _, kind = path.rpartition(".")
    if kind not in ("py", "so", "pyd") or path.startswith(".."):
        return ""
    folder, slash, name = stem.rpartition("/")
    name = name.partition(".")[0]
    if name == "__init__":
        return folder.replace("/", ".")
    return (folder + slash).replace("/", ".") + name
