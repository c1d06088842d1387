"""The working directory and the environment while a request runs."""

import os
import sys
from typing import Any, Dict, Optional


class SetupError(Exception):
    """What a request asks for cannot be had. Its text says why."""


class Surroundings:
    """What a request asks for, and what was there before."""

    def __init__(self, cwd: str, env: Dict[str, Any]) -> None:
        self._cwd = cwd
        self._env = env
        # Where the process was, and where it has come to.
        self._before: Optional[str] = None
        self._inside: Optional[str] = None
        # What the variables were that have been set; None for one that was not.
        self._variables: Dict[str, Optional[str]] = {}

    def enter(self) -> None:
        """Make it so. Raises SetupError; leave is to be called in any case."""
        if self._cwd:
            before = _cwd()
            try:
                os.chdir(self._cwd)
            except (OSError, ValueError) as err:
                reason = getattr(err, "strerror", None) or err
                raise SetupError(
                    "the working directory of this run cannot be entered: %s: %s" % (self._cwd, reason)
                ) from None
            self._before, self._inside = before, _cwd()
        for name, value in self._env.items():
            before = os.environ.get(name)
            try:
                os.environ[name] = value
            except (TypeError, ValueError, OSError) as err:
                raise SetupError(
                    "the variable %s cannot be set in the environment of this run: %s" % (name, err)
                ) from None
            self._variables[name] = before

    def leave(self) -> None:
        """Put back what was there, but for what has been changed meanwhile."""
        for name, before in self._variables.items():
            if os.environ.get(name) != self._env[name]:
                continue
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
        if self._before is None or _cwd() not in (self._inside, None):
            return
        try:
            os.chdir(self._before)
        except OSError as err:
            sys.stderr.write(
                "The working directory %s of the session cannot be entered again: %s\n" % (self._before, err.strerror)
            )


def _cwd() -> Optional[str]:
    """Return the working directory, None if it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def wanted(head: Dict[str, Any]) -> Optional[Surroundings]:
    """Return what the head of a request asks for, None if nothing."""
    cwd, env = head.get("cwd"), head.get("env")
    if not cwd and not env:
        return None
    return Surroundings(cwd if isinstance(cwd, str) else "", env if isinstance(env, dict) else {})
