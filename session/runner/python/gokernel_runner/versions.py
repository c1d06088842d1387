"""Versions of Python packages and how they compare (PEP 440)."""

import functools
import re
from typing import Any, Optional, Tuple

_VERSION = re.compile(
    r"""v?(?:(?P<epoch>[0-9]+)!)?(?P<release>[0-9]+(?:\.[0-9]+)*)
    (?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_n>[0-9]*))?
    (?P<post>-(?P<post_n1>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_n2>[0-9]*))?
    (?P<dev>[-_.]?dev[-_.]?(?P<dev_n>[0-9]*))?
    (?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?\Z""",
    re.VERBOSE | re.IGNORECASE,
)
_PREFIX = re.compile(r"v?(?:([0-9]+)!)?([0-9]+(?:\.[0-9]+)*)\.\*\Z", re.IGNORECASE)
_PRE = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
# Sorts before and after the numbers that stand in its place.
_BEFORE, _AFTER = -1, float("inf")


class Unknown(Exception):
    """This cannot be told: the text is not what the standards know."""


class Version:
    """A version. base, public and key compare as the parts do that they stand for."""

    __slots__ = ("base", "public", "key", "release", "epoch", "pre", "post", "local")

    def __init__(self, text: str) -> None:
        m = _VERSION.match(text.strip())
        if m is None:
            raise Unknown("%r is no version" % text)
        self.epoch = int(m["epoch"] or 0)
        self.release = _numbers(m["release"])
        pre = (_PRE[m["pre"].lower()], int(m["pre_n"] or 0)) if m["pre"] else None
        post = int(m["post_n1"] or m["post_n2"] or 0) if m["post"] else None
        dev = int(m["dev_n"] or 0) if m["dev"] else None
        self.local = _local(m["local"])
        self.pre = pre is not None or dev is not None
        self.post = post is not None
        if pre is None:
            pre = (_BEFORE, 0) if dev is not None and post is None else (3, 0)
        self.base = (self.epoch, _stripped(self.release))
        self.public: Tuple[Any, ...] = (
            *self.base,
            pre,
            _BEFORE if post is None else post,
            _AFTER if dev is None else dev,
        )
        self.key = (*self.public, self.local)


_parse = functools.lru_cache(maxsize=4096)(Version)


def _numbers(text: str) -> Tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _stripped(release: Tuple[int, ...]) -> Tuple[int, ...]:
    end = len(release)
    while end > 1 and release[end - 1] == 0:
        end -= 1
    return release[:end]


def _local(text: Optional[str]) -> Tuple[Any, ...]:
    if text is None:
        return ()
    return tuple(
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.split(r"[-_.]", text.lower())
    )


def matches(text: str, op: str, wanted: str) -> bool:
    """Tell whether the version text satisfies a comparison. One that is there already
    may be a pre-release. Raises Unknown."""
    if op == "===":
        return text.strip().lower() == wanted.strip().lower()
    have = _parse(text)
    if op in ("==", "!="):
        return _equal(have, wanted) == (op == "==")
    want = _parse(wanted)
    if op == "~=":
        if len(want.release) < 2:
            raise Unknown("~=%s needs two numbers" % wanted)
        return have.public >= want.public and _begins(have, want.epoch, want.release[:-1])
    if op == "<=":
        return have.public <= want.public
    if op == ">=":
        return have.public >= want.public
    if op == "<":
        return have.key < want.key and (want.pre or not have.pre or have.base != want.base)
    if op == ">":
        if have.base == want.base and (have.local or have.post and not want.post):
            return False
        return have.key > want.key
    raise Unknown("%r is no comparison" % op)


def _equal(have: Version, wanted: str) -> bool:
    prefix = _PREFIX.match(wanted.strip())
    if prefix is not None:
        return _begins(have, int(prefix[1] or 0), _numbers(prefix[2]))
    want = _parse(wanted)
    return have.key == want.key if want.local else have.public == want.public


def _begins(have: Version, epoch: int, release: Tuple[int, ...]) -> bool:
    padded = have.release + (0,) * (len(release) - len(have.release))
    return have.epoch == epoch and padded[: len(release)] == release
