"""What both shells have in common."""

from typing import Any, Dict, List, Optional, Tuple

from .request import Request

HELP_LINKS = [
    {"text": "Python Reference", "url": "https://docs.python.org/3"},
    {"text": "Python Library", "url": "https://docs.python.org/3/library/"},
]


class Outcome:
    """How a cell ended: error is None, or the fields of an error message."""

    __slots__ = ("count", "error")

    def __init__(self, count: int, error: Optional[Dict[str, Any]] = None) -> None:
        self.count = count
        self.error = error


def describe(info: Tuple[Any, Any, Any]) -> Dict[str, Any]:
    """Return the fields of an error message for an exception of the runner itself, or
    for an interrupt that came where no code of the user ran."""
    etype, value, tb = info
    name = getattr(etype, "__name__", "Exception")
    if name == "KeyboardInterrupt":
        return {"ename": name, "evalue": "", "traceback": ["KeyboardInterrupt"]}
    import traceback

    lines = "".join(traceback.format_exception(etype, value, tb)).rstrip("\n").split("\n")
    return {"ename": name, "evalue": text(value), "traceback": lines}


def text(value: Any) -> str:
    """Return str(value), whatever its __str__ does."""
    try:
        return str(value)
    except Exception:
        return "<exception str() failed>"


class Shell:
    """Evaluates code. Methods are for the main thread."""

    # Number of the next cell.
    count = 1

    def info(self) -> Dict[str, Any]:
        """Return what kernel_info_reply says of the language."""
        raise NotImplementedError

    def run(self, request: Request, code: str, silent: bool, store: bool) -> Any:
        """Run a cell; return its Outcome, or a coroutine that does for a cell with
        await at its top level."""
        raise NotImplementedError

    def expressions(self, expressions: Dict[str, Any]) -> Dict[str, Any]:
        """Evaluate user_expressions."""
        raise NotImplementedError

    def payload(self) -> List[Dict[str, Any]]:
        """Return and forget what the cell has for the front end."""
        raise NotImplementedError

    def complete(self, code: str, cursor: int) -> Dict[str, Any]:
        """Return the content of complete_reply."""
        raise NotImplementedError

    def inspect(self, code: str, cursor: int, level: int, omit: Any) -> Dict[str, Any]:
        """Return the content of inspect_reply."""
        raise NotImplementedError

    def is_complete(self, code: str) -> Dict[str, Any]:
        """Return the content of is_complete_reply."""
        raise NotImplementedError

    def history(self, content: Dict[str, Any]) -> List[Any]:
        """Return the entries that a history_request asks for."""
        raise NotImplementedError

    def close(self) -> None:
        """End: run what was registered for the end."""
        raise NotImplementedError


def language_info() -> Dict[str, Any]:
    """Return language_info for this interpreter."""
    import platform

    return {
        "name": "python",
        "version": platform.python_version(),
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    }
