"""Imports IPython without the parts that a kernel does not need at its start.

"import IPython" also loads the terminal program with prompt_toolkit, and jedi for
the first completion: half of the time. Both are loaded here when they are used.
"""

import importlib.util
import sys
import types
from typing import Any, Dict

_EMBED = "IPython.terminal.embed"
_JEDI = ("jedi", "jedi.api", "jedi.api.helpers", "jedi.api.classes")


def load() -> None:
    """Import IPython.core.interactiveshell. Raises ImportError as an import does."""
    if "IPython" in sys.modules or importlib.util.find_spec("IPython") is None:
        import IPython.core.interactiveshell

        return
    stand_ins: Dict[str, types.ModuleType] = {_EMBED: _embed()}
    if "jedi" not in sys.modules and importlib.util.find_spec("jedi") is not None:
        stand_ins.update(_jedi())
    before = set(sys.modules)
    sys.modules.update(stand_ins)
    try:
        import IPython.core.completer
        import IPython.core.interactiveshell
    except Exception:
        # This IPython needs more of them than we know: start over with the real ones.
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "IPython":
                del sys.modules[name]
        _remove(stand_ins)
        import IPython.core.interactiveshell

        return
    _remove(stand_ins)
    if "jedi" in stand_ins:
        completer = sys.modules["IPython.core.completer"]
        completer.jedi = _LazyJedi(completer)  # type: ignore[attr-defined]


def _remove(stand_ins: Dict[str, types.ModuleType]) -> None:
    for name, module in stand_ins.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    terminal = sys.modules.get("IPython.terminal")
    if terminal is not None and getattr(terminal, "embed", None) is stand_ins[_EMBED]:
        del terminal.embed


def _embed() -> types.ModuleType:
    def embed(**options: Any) -> Any:
        """Call IPython.terminal.embed.embed."""
        from IPython.terminal.embed import embed as real

        options.setdefault("stack_depth", 2)
        return real(**options)

    module = types.ModuleType(_EMBED)
    module.embed = embed  # type: ignore[attr-defined]
    return module


def _jedi() -> Dict[str, types.ModuleType]:
    modules = {name: types.ModuleType(name) for name in _JEDI}
    jedi = modules["jedi"]
    jedi.__version__ = "0"  # type: ignore[attr-defined]
    jedi.settings = types.SimpleNamespace()  # type: ignore[attr-defined]
    jedi.api = modules["jedi.api"]  # type: ignore[attr-defined]
    jedi.api.helpers = modules["jedi.api.helpers"]  # type: ignore[attr-defined]
    jedi.api.classes = modules["jedi.api.classes"]  # type: ignore[attr-defined]
    return modules


class _LazyJedi:
    """Stands in IPython's completer for jedi until something of it is used."""

    def __init__(self, completer: Any) -> None:
        self._completer = completer

    def __getattr__(self, name: str) -> Any:
        import jedi
        import jedi.api.classes
        import jedi.api.helpers

        jedi.settings.case_insensitive_completion = False
        self._completer.jedi = jedi
        return getattr(jedi, name)
