"""Rich values and displays of the plain shell."""

import builtins
import os
import sys
from typing import Any, Callable, Dict, Optional, Tuple

from . import request as requests
from .shell import text

# Methods of values that have rich forms, and the types of these.
_METHODS = (
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_pdf_", "application/pdf"),
    ("_repr_latex_", "text/latex"),
    ("_repr_json_", "application/json"),
    ("_repr_javascript_", "application/javascript"),
)
_LINE = 80


def bundle(value: Any) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Return the forms of a value by type, and their metadata."""
    data: Dict[str, Any] = {}
    metadata: Dict[str, Any] = {}
    if not isinstance(value, type):
        found = _call(value, "_repr_mimebundle_", include=None, exclude=None)
        if isinstance(found, tuple) and len(found) == 2:
            data.update(found[0])
            metadata.update(found[1])
        elif isinstance(found, dict):
            data.update(found)
        for method, kind in _METHODS:
            form = None if kind in data else _call(value, method)
            if form is None:
                continue
            if isinstance(form, tuple) and len(form) == 2:
                form, metadata[kind] = form
            data[kind] = form
    if "text/plain" not in data:
        data["text/plain"] = pretty(value)
    return data, metadata


def _call(value: Any, method: str, **arguments: Any) -> Any:
    # Looked up on the type: a value may answer to every name.
    function = getattr(type(value), method, None)
    if function is None:
        return None
    try:
        return function(value, **arguments)
    except NotImplementedError:
        return None
    except Exception as err:
        sys.stderr.write("%s raised %s: %s\n" % (method, type(err).__name__, text(err)))
        return None


def pretty(value: Any) -> str:
    """Return repr(value); long containers one item a line."""
    shown = repr(value)
    if len(shown) > _LINE and type(value) in (dict, list, tuple, set, frozenset):
        import pprint

        return pprint.pformat(value, width=_LINE, compact=False, sort_dicts=False)
    return shown


class Handle:
    """A display that can be updated."""

    def __init__(self, displays: "Displays", id: str) -> None:
        self.display_id = id
        self._displays = displays

    def display(self, value: Any) -> None:
        """Show value once more under this id."""
        self._displays.display(value, display_id=self.display_id)

    def update(self, value: Any) -> None:
        """Show value in place of what was shown."""
        self._displays.publish("update_display_data", *bundle(value), id=self.display_id)


class Displays:
    """display() and clear_output()."""

    def __init__(self, message: Callable[..., None]) -> None:
        self._message = message

    def publish(
        self, kind: str, data: Dict[str, Any], metadata: Dict[str, Any], id: Optional[str] = None
    ) -> None:
        """Send a display message."""
        transient = {"display_id": id} if id else {}
        content = {"data": data, "metadata": metadata, "transient": transient}
        self._message(requests.current(), kind, content)

    def display(self, *values: Any, display_id: Any = None, raw: bool = False) -> Any:
        """Show values in their richest forms. With display_id=True or a name return a
        handle whose update() changes what is shown. With raw=True values are dicts
        from types to forms."""
        id = None
        if display_id is not None and display_id is not False:
            id = os.urandom(16).hex() if display_id is True else str(display_id)
        for value in values:
            data, metadata = (value, {}) if raw else bundle(value)
            self.publish("display_data", data, metadata, id)
        return Handle(self, id) if id else None

    def clear_output(self, wait: bool = False) -> None:
        """Remove the output of the cell; with wait when the next output comes."""
        self._message(requests.current(), "clear_output", {"wait": bool(wait)})

    def install(self) -> None:
        """Make display a builtin, as it is with IPython, and clear_output too: there
        is no IPython.display to import it from."""
        builtins.display = self.display  # type: ignore[attr-defined]
        builtins.clear_output = self.clear_output  # type: ignore[attr-defined]


def show_figures(displays: Displays) -> None:
    """Show and close the open figures of matplotlib, if it is loaded."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not pyplot.get_fignums():
        return
    import io

    for number in pyplot.get_fignums():
        figure = pyplot.figure(number)
        png = io.BytesIO()
        figure.savefig(png, format="png", bbox_inches="tight")
        size = "<Figure size %dx%d with %d Axes>" % (
            *(figure.get_size_inches() * figure.dpi),
            len(figure.axes),
        )
        displays.publish("display_data", {"image/png": png.getvalue(), "text/plain": size}, {})
    pyplot.close("all")
