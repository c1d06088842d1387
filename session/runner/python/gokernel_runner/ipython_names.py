"""Completes plain names without jedi, which takes 10 ms to find them.

What a name at the beginning of an expression can be is known: what the user's
namespace holds, what the cell binds before the cursor, builtins and keywords.
Everything else, such as attributes, arguments, imports and strings, is jedi's.
"""

import ast
import builtins
import inspect
import io
import keyword
import re
import tokenize
import types
from typing import Any, Dict, Iterable, List, Optional

_WORD = re.compile(r"[^\W\d]\w*\Z")
# What may stand between the start of a line and the name.
_START = re.compile(r"\s*(?:(?:return|yield|await|not|if|while|assert|print)\s+)?(?:[^\W\d]\w*\s*[-+*/]?=\s*)?\Z")
# Keywords that go on with a statement, that no statement begins with, and those
# that an expression can begin with.
_CONTINUE = {"elif", "else", "except", "finally"}
_NEVER_FIRST = _CONTINUE | {"and", "as", "in", "is", "or"}
_IN_EXPRESSION = {"False", "None", "True", "await", "lambda", "not", "yield"}


class _Signature:
    def __init__(self, text: str) -> None:
        self._text = text

    def to_string(self) -> str:
        return self._text


class Name:
    """What IPython asks of a jedi.api.classes.Completion."""

    def __init__(self, name: str, prefix: str, value: Any, type: str) -> None:
        self.name = self.name_with_symbols = name
        self.complete = name[len(prefix) :]
        self.type = type
        self._value = value

    def get_signatures(self) -> List[_Signature]:
        try:
            return [_Signature(self.name + str(inspect.signature(self._value)))]
        except (TypeError, ValueError):
            return []


def install(completer: Any) -> None:
    """Let completer look for plain names itself before it asks jedi."""
    jedi = completer._jedi_matches

    def matches(cursor_column: int, cursor_line: int, text: str) -> Iterable[Any]:
        lines = text.split("\n")
        before = "\n".join(lines[:cursor_line] + [lines[cursor_line][:cursor_column]])
        names = plain(before, completer.namespace)
        if names is not None:
            return names
        return jedi(cursor_column=cursor_column, cursor_line=cursor_line, text=text)

    completer._jedi_matches = matches


def plain(before: str, namespace: Dict[str, Any]) -> Optional[List[Name]]:
    """Return the names that before, the text up to the cursor, may end in, or None
    if that is not for this module to say."""
    found = _WORD.search(before)
    if not found:
        return None
    prefix = found.group()
    head, _, line = before[: found.start()].rpartition("\n")
    if not _START.match(line):
        return None
    bound = _bound(head) if head.strip() else {}
    if bound is None or head.strip() and any(k.startswith(prefix) for k in _CONTINUE):
        return None
    words = _IN_EXPRESSION if line.strip() else set(keyword.kwlist) - _NEVER_FIRST
    values: Dict[str, Any] = {}
    for name, value in list(vars(builtins).items()) + list(namespace.items()):
        if isinstance(name, str) and name.startswith(prefix):
            values[name] = value
    candidates = dict.fromkeys(values, "")
    candidates.update(bound)
    candidates.update(dict.fromkeys(words, "keyword"))
    out = [
        Name(n, prefix, values.get(n), kind or _type(values[n]))
        for n, kind in candidates.items()
        if n.startswith(prefix)
    ]
    out.sort(key=lambda c: (c.name.startswith("__"), c.name.startswith("_"), c.name.lower()))
    return out


def _type(value: Any) -> str:
    if isinstance(value, type):
        return "class"
    if isinstance(value, types.ModuleType):
        return "module"
    if inspect.isroutine(value):
        return "function"
    return "instance"


def _bound(text: str) -> Optional[Dict[str, str]]:
    """Return what whole statements bind, or None if text is not made of such."""
    try:
        tree = ast.parse(text)
        if list(_open(text)):
            return None
    except (SyntaxError, ValueError, tokenize.TokenError):
        return None
    names: Dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                names.setdefault(node.id, "instance")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names[node.name] = "class" if isinstance(node, ast.ClassDef) else "function"
        elif isinstance(node, ast.arg):
            names.setdefault(node.arg, "param")
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                names[(alias.asname or alias.name).partition(".")[0]] = "module"
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.setdefault(node.name, "instance")
    return names


def _open(text: str) -> Iterable[str]:
    """Yield what text leaves open, for the next line to go on with."""
    if text.rstrip(" \t").endswith("\\"):
        yield "\\"
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.ERRORTOKEN and token.string.strip():
            yield token.string
