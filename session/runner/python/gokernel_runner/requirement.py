"""Requirements of Python packages (PEP 508)."""

import os
import re
import sys
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Tuple

from . import versions
from .versions import Unknown

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>'[^']*'|"[^"]*")|(?P<op>~=|===|==|!=|<=|>=|<|>)|(?P<mark>[()])
    |(?P<word>[A-Za-z_][A-Za-z0-9_.]*))""",
    re.VERBOSE,
)
_NAME = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*")
_EXTRAS = re.compile(r"\[([^\]]*)\]\s*")
_CLAUSE = re.compile(r"\s*(~=|===|==|!=|<=|>=|<|>)\s*([A-Za-z0-9._!+*-]+)\s*\Z")
_DASHES = re.compile(r"[-_.]+")

# A marker: ("or" or "and", [marker]) or (left, op, right) with (is variable, text).
Marker = Tuple[Any, ...]


def normal(name: str) -> str:
    """Return the name of a package in its normal form."""
    return _DASHES.sub("-", name).lower()


class Requirement:
    """What a line asks for. Raises Unknown for a line that is not understood."""

    __slots__ = ("name", "extras", "clauses", "url", "marker", "_applies")

    def __init__(self, text: str) -> None:
        m = _NAME.match(text)
        if m is None:
            raise Unknown("%r begins with no name" % text)
        self.name = normal(m[1])
        self.extras: FrozenSet[str] = frozenset()
        self.clauses: List[Tuple[str, str]] = []
        self.url: Optional[str] = None
        self.marker: Optional[Marker] = None
        self._applies: Dict[str, bool] = {}
        rest = text[m.end() :]
        m = _EXTRAS.match(rest)
        if m is not None:
            self.extras = frozenset(normal(e.strip()) for e in m[1].split(",") if e.strip())
            rest = rest[m.end() :]
        if rest.startswith("@"):
            self.url, _, marker = rest[1:].strip().partition(" ")
            marker = marker.strip()
            if marker and not marker.startswith(";"):
                raise Unknown("%r is not understood" % marker)
            marker = marker[1:]
        else:
            comparison, _, marker = rest.partition(";")
            self._compare(comparison.strip())
        if marker.strip():
            self.marker = _Markers(marker).whole()

    def _compare(self, text: str) -> None:
        if text.startswith("(") and text.endswith(")"):
            text = text[1:-1]
        for clause in text.split(","):
            if not clause.strip():
                continue
            m = _CLAUSE.match(clause)
            if m is None:
                raise Unknown("%r is no comparison of versions" % clause)
            self.clauses.append((m[1], m[2]))

    def allows(self, version: str) -> bool:
        """Tell whether a version is one of those asked for."""
        return all(versions.matches(version, op, wanted) for op, wanted in self.clauses)

    def applies(self, extra: str = "") -> bool:
        """Tell whether the marker lets the requirement hold here, with extra asked
        for."""
        if self.marker is None:
            return True
        # Nothing that a marker looks at changes while the process lives.
        if extra not in self._applies:
            self._applies[extra] = _holds(self.marker, extra)
        return self._applies[extra]


class _Markers:
    """Reads a marker."""

    def __init__(self, text: str) -> None:
        self._tokens: List[Tuple[str, str]] = []
        at, text = 0, text.rstrip()
        while at < len(text):
            m = _TOKEN.match(text, at)
            if m is None or m.lastgroup is None:
                raise Unknown("the marker %r is not understood" % text)
            self._tokens.append((m.lastgroup, m[m.lastgroup]))
            at = m.end()
        self._tokens.append(("end", ""))
        self._at = 0

    def whole(self) -> Marker:
        marker = self._either()
        if self._tokens[self._at][0] != "end":
            raise Unknown("the marker does not end where it should")
        return marker

    def _take(self, *texts: str) -> bool:
        kind, text = self._tokens[self._at]
        if kind == "string" or text not in texts:
            return False
        self._at += 1
        return True

    def _either(self) -> Marker:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return ("or", parts)

    def _both(self) -> Marker:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return ("and", parts)

    def _one(self) -> Marker:
        if self._take("("):
            marker = self._either()
            if not self._take(")"):
                raise Unknown("a ) is missing in a marker")
            return marker
        left = self._operand()
        kind, op = self._tokens[self._at]
        self._at += 1
        if kind == "word" and op == "not" and self._take("in"):
            op = "not in"
        elif kind != "op" and (kind, op) != ("word", "in"):
            raise Unknown("%r is no comparison in a marker" % op)
        return (left, op, self._operand())

    def _operand(self) -> Tuple[bool, str]:
        kind, text = self._tokens[self._at]
        if kind == "string":
            self._at += 1
            return (False, text[1:-1])
        if kind != "word" or text not in _VARIABLES:
            raise Unknown("%r is no variable of a marker" % text)
        self._at += 1
        return (True, text)


def _holds(marker: Marker, extra: str) -> bool:
    if marker[0] == "or":
        return any(_holds(part, extra) for part in marker[1])
    if marker[0] == "and":
        return all(_holds(part, extra) for part in marker[1])
    (left_is, left), op, (right_is, right) = marker
    is_extra = "extra" in ((left_is and left), (right_is and right))
    left, right = (_value(i, t, extra) for i, t in ((left_is, left), (right_is, right)))
    if is_extra:
        left, right = normal(left), normal(right)
    elif op not in ("in", "not in"):
        try:
            return versions.matches(left, op, right)
        except Unknown:
            pass
    compare = _COMPARE.get(op)
    if compare is None:
        raise Unknown("%r and %r do not compare by %s" % (left, right, op))
    return compare(left, right)


_COMPARE: Dict[str, Callable[[str, str], bool]] = {
    "in": lambda a, b: a in b,
    "not in": lambda a, b: a not in b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _value(is_variable: bool, text: str, extra: str) -> str:
    if not is_variable:
        return text
    if text == "extra":
        return extra
    value = _VARIABLES[text]
    if callable(value):
        value = _VARIABLES[text] = value()
    return value


def _implementation() -> str:
    v = sys.implementation.version
    text = "%d.%d.%d" % v[:3]
    return text if v[3] == "final" else text + v[3][0] + str(v[4])


def _platform(name: str) -> Callable[[], str]:
    def value() -> str:
        import platform

        return str(getattr(platform, name)())

    return value


# Values, or how to get them. They are the same as long as the process lives.
_VARIABLES: Dict[str, Any] = {
    "extra": "",
    "implementation_name": sys.implementation.name,
    "implementation_version": _implementation,
    "os_name": os.name,
    "platform_machine": _platform("machine"),
    "platform_python_implementation": _platform("python_implementation"),
    "platform_release": _platform("release"),
    "platform_system": _platform("system"),
    "platform_version": _platform("version"),
    "python_full_version": _platform("python_version"),
    "python_version": "%d.%d" % sys.version_info[:2],
    "sys_platform": sys.platform,
    # As they were written before PEP 508.
    "os.name": os.name,
    "sys.platform": sys.platform,
    "platform.version": _platform("version"),
    "platform.machine": _platform("machine"),
    "platform.python_implementation": _platform("python_implementation"),
    "python_implementation": _platform("python_implementation"),
}
