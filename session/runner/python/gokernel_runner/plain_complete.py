"""Completion and inspection of the plain shell, from live objects."""

import builtins
import inspect
import keyword
import re
import sys
import types
from typing import Any, Dict, Iterable, List, Optional, Tuple

_NAME = re.compile(r"(?:[^\W\d]\w*\.)*(?:[^\W\d]\w*)?\Z")
_CHAIN = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_IMPORT = re.compile(r"^\s*(?:import|from)\s+([\w.,\s]*)\Z")
_FROM = re.compile(r"^\s*from\s+([\w.]+)\s+import\s+(?:[\w\s,]*,\s*)?(\w*)\Z")


def complete(code: str, cursor: int, namespace: Dict[str, Any]) -> Dict[str, Any]:
    """Return the content of complete_reply."""
    before = code[:cursor]
    line = before[before.rfind("\n") + 1 :]
    word, found = _candidates(line, namespace)
    matches = sorted(set(found), key=lambda m: (m[0].startswith("_"), m[0]))
    return reply(cursor - len(word), cursor, matches)


_Match = Tuple[str, str, str]


def reply(start: int, cursor: int, matches: List[_Match]) -> Dict[str, Any]:
    """Return the content of complete_reply for matches, each with its kind and
    signature."""
    types_of = [
        {"start": start, "end": cursor, "text": name, "type": kind, "signature": signature}
        for name, kind, signature in matches
    ]
    return {
        "status": "ok",
        "matches": [m[0] for m in matches],
        "cursor_start": start,
        "cursor_end": cursor,
        "metadata": {"_jupyter_types_experimental": types_of},
    }


def _candidates(line: str, namespace: Dict[str, Any]) -> Tuple[str, List[_Match]]:
    from_import = _FROM.match(line)
    if from_import:
        return from_import.group(2), _members(from_import.group(1), from_import.group(2))
    imports = _IMPORT.match(line)
    if imports:
        word = re.split(r"[\s,]+", imports.group(1))[-1]
        package, _, part = word.rpartition(".")
        return part, [(n, "module", "") for n in _modules(package) if n.startswith(part)]
    match = _NAME.search(line)
    chain = match.group() if match else ""
    owner, dot, word = chain.rpartition(".")
    if not dot:
        return word, _names(word, namespace)
    value = _resolve(owner, namespace)
    if value is _MISSING:
        return word, []
    names = [n for n in _dir(value) if n.startswith(word) and (word or not n.startswith("_"))]
    return word, [_described(n, _static(value, n)) for n in names]


def _names(word: str, namespace: Dict[str, Any]) -> List[_Match]:
    found = [(k, "keyword", "") for k in keyword.kwlist if k.startswith(word)]
    for scope in (vars(builtins), namespace):
        found += [
            _described(n, v)
            for n, v in list(scope.items())
            if n.startswith(word) and (word or not n.startswith("_"))
        ]
    return found


def _described(name: str, value: Any) -> _Match:
    if isinstance(value, type):
        return name, "class", ""
    if isinstance(value, types.ModuleType):
        return name, "module", ""
    if callable(value) or isinstance(value, (staticmethod, classmethod)):
        return name, "function", signature(value)
    if isinstance(value, property):
        return name, "property", ""
    return name, "instance", ""


def signature(value: Any) -> str:
    """Return the parameters of a callable, "" if they are not known."""
    try:
        return str(inspect.signature(value))
    except (TypeError, ValueError):
        return ""


def _members(module: str, word: str) -> List[_Match]:
    loaded = sys.modules.get(module)
    names = [(n, "module", "") for n in _modules(module) if n.startswith(word)]
    if loaded is not None:
        names += [_described(n, getattr(loaded, n, None)) for n in dir(loaded) if n.startswith(word)]
    return names


def _modules(package: str) -> Iterable[str]:
    """Return the names of modules of a package; "" means those that stand alone."""
    path: Any = None
    names: List[str] = []
    if package:
        path = getattr(sys.modules.get(package), "__path__", None)
        if path is None:
            return names
    else:
        names += sys.builtin_module_names
    try:
        import pkgutil

        names += [m.name for m in pkgutil.iter_modules(path)]
    except Exception:
        return names
    return names


_MISSING = object()


def _resolve(chain: str, namespace: Dict[str, Any]) -> Any:
    """Return the value of a dotted name; properties are not run."""
    first, *rest = chain.split(".")
    value = namespace.get(first, getattr(builtins, first, _MISSING))
    for name in rest:
        if value is _MISSING:
            return value
        found = _static(value, name)
        if isinstance(found, property) or found is _MISSING:
            return _MISSING
        try:
            value = getattr(value, name)
        except Exception:
            return _MISSING
    return value


def _static(value: Any, name: str) -> Any:
    if isinstance(value, types.ModuleType):
        return getattr(value, name, _MISSING)
    try:
        return inspect.getattr_static(value, name)
    except AttributeError:
        return _MISSING


def _dir(value: Any) -> List[str]:
    try:
        return [n for n in dir(value) if isinstance(n, str)]
    except Exception:
        return []


def name_at(code: str, cursor: int) -> str:
    """Return the dotted name at the cursor, or the function of the call around it."""
    for match in _CHAIN.finditer(code):
        if match.start() <= cursor <= match.end():
            rest = code[cursor : match.end()].partition(".")[0]
            return code[match.start() : cursor] + rest
    depth = 0
    for i in range(cursor - 1, -1, -1):
        if code[i] == ")":
            depth += 1
        elif code[i] == "(":
            if not depth:
                names = [m.group() for m in _CHAIN.finditer(code[:i]) if m.end() == i]
                return names[-1] if names else ""
            depth -= 1
    return ""


def describe(name: str, namespace: Dict[str, Any], level: int) -> Optional[str]:
    """Return what is to be known about a name, None if there is none."""
    value = _resolve(name, namespace) if name else _MISSING
    if value is _MISSING:
        return None
    lines = []
    if callable(value):
        lines.append("Signature: %s%s" % (name, signature(value) or "(...)"))
    lines.append("Type:      %s" % type(value).__name__)
    if not callable(value) and not isinstance(value, types.ModuleType):
        shown = repr(value)
        lines.append("Value:     %s" % (shown if len(shown) < 500 else shown[:500] + "…"))
    source = None
    if level:
        try:
            source = inspect.getsource(value)
        except (TypeError, OSError):
            source = None
    if source:
        lines += ["Source:", source.rstrip()]
    else:
        lines += ["Docstring:", inspect.getdoc(value) or "<no docstring>"]
    return "\n".join(lines)


def is_complete(code: str, flags: int) -> Dict[str, Any]:
    """Return the content of is_complete_reply."""
    if not code.strip():
        return {"status": "complete"}
    import codeop

    compiler = codeop.Compile()
    compiler.flags |= flags
    try:
        found = codeop._maybe_compile(compiler, code, "<input>", "exec")  # type: ignore
    except (SyntaxError, ValueError, OverflowError):
        return {"status": "invalid"}
    last = code.rstrip("\n").rpartition("\n")[2]
    indent = len(last) - len(last.lstrip())
    if last.rstrip().endswith(":"):
        indent += 4
    if found is None or (indent and not code.endswith("\n\n") and code.count("\n")):
        return {"status": "incomplete", "indent": " " * indent}
    if last.rstrip().endswith(":"):
        return {"status": "incomplete", "indent": " " * indent}
    return {"status": "complete"}
