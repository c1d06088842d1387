"""Makes the golden files of this directory with Python's nbformat and nbclient.

Run it where both are installed: python3 golden.py
"""
import asyncio
import base64
import copy
import datetime
import json
import logging
import pathlib
import warnings

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = pathlib.Path(__file__).parent
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")


def notebook(minor=5, **changes):
    """A notebook with a bit of everything."""
    nb = {
        "nbformat": 4,
        "nbformat_minor": minor,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python", "codemirror_mode": {"name": "ipython", "version": 3}},
            "title": "A title",
            "x-mine": {"b": [1, 2.0, 1e5, 1e16, 1e-5, 0.0001, -0.0, 12345678901234567890, 1.5e300], "a": {}, "c": []},
        },
        "cells": [
            {"cell_type": "markdown", "id": "m1", "metadata": {}, "source": ["# Title\n", "text \u00e9 \u2028 split"],
             "attachments": {"a.png": {"image/png": "aGk="}, "t.txt": {"text/plain": "one\ntwo"}}},
            {"cell_type": "raw", "id": "r1", "metadata": {"format": "text/html"}, "source": "<b>\r\nraw\rline\u0085x\x0b\x0c\x1c\x1d\x1ey"},
            {"cell_type": "code", "id": "c1", "metadata": {"tags": ["a", "b"], "collapsed": False, "scrolled": "auto"},
             "source": "", "execution_count": None, "outputs": []},
            {"cell_type": "code", "id": "c2", "metadata": {"trusted": True, "deep": {"z": [[], [{}]], "a": None}},
             "source": "print('\U0001f600 \\u0041 \x7f \x1b[0m')\n\n", "execution_count": 3, "outputs": [
                 {"output_type": "stream", "name": "stdout", "text": ["a\n", "b\rc\n", "\t\"q\" \\ / \x00\x1f"]},
                 {"output_type": "stream", "name": "stderr", "text": "one line"},
                 {"output_type": "display_data", "metadata": {"image/png": {"width": 3}}, "data": {
                     "image/png": "aGVsbG8=\n", "text/plain": ["<Figure\n", ">"], "image/svg+xml": "<svg>\n</svg>",
                     "application/javascript": "a\nb", "application/json": {"y": [1, "l\n2"], "x": "s"},
                     "application/vnd.x+json": ["a", "b"], "text/html": "", "application/pdf": ["x", "y"]}},
                 {"output_type": "execute_result", "metadata": {}, "execution_count": 3, "data": {"text/plain": "3"}},
                 {"output_type": "error", "ename": "E", "evalue": "v\nw", "traceback": ["\x1b[31ml1\nl2", ""]},
             ]},
        ],
    }
    if minor < 5:
        for cell in nb["cells"]:
            del cell["id"]
    nb.update(changes)
    return nb


def change(path, value, minor=5):
    """A notebook with one value changed, or with ... removed."""
    nb = notebook(minor)
    *way, last = path
    at = nb
    for key in way:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return nb


DELETED = ...
OUT = ["cells", 3, "outputs"]
MUTATIONS = [
    ("good", notebook()),
    ("good 4.4", notebook(4)),
    ("good 4.0", notebook(0)),
    ("no metadata", change(["metadata"], DELETED)),
    ("metadata list", change(["metadata"], [])),
    ("extra top", change(["surprise"], 1)),
    ("kernelspec no name", change(["metadata", "kernelspec"], {"display_name": "x"})),
    ("kernelspec number", change(["metadata", "kernelspec"], 5)),
    ("language_info no name", change(["metadata", "language_info"], {})),
    ("language_info mimetype", change(["metadata", "language_info", "mimetype"], 3)),
    ("codemirror number", change(["metadata", "language_info", "codemirror_mode"], 3)),
    ("title number", change(["metadata", "title"], 3)),
    ("title number 4.1", change(["metadata", "title"], 3, 1)),
    ("authors object", change(["metadata", "authors"], {})),
    ("id missing (repaired by nbformat)", None),
    ("id bad", change(["cells", 0, "id"], "has space")),
    ("id empty", change(["cells", 0, "id"], "")),
    ("id long", change(["cells", 0, "id"], "x" * 65)),
    ("id longest", change(["cells", 0, "id"], "x" * 64)),
    ("id number", change(["cells", 0, "id"], 7)),
    ("id before 4.5", change(["cells", 0, "id"], "x", 4)),
    ("cell type unknown", change(["cells", 0, "cell_type"], "heading")),
    ("cell type missing", change(["cells", 0, "cell_type"], DELETED)),
    ("cell metadata missing", change(["cells", 0, "metadata"], DELETED)),
    ("cell metadata null", change(["cells", 0, "metadata"], None)),
    ("source missing", change(["cells", 0, "source"], DELETED)),
    ("source number", change(["cells", 0, "source"], 5)),
    ("source null", change(["cells", 0, "source"], None)),
    ("source list of numbers", change(["cells", 0, "source"], ["a", 5])),
    ("cell extra", change(["cells", 0, "surprise"], 5)),
    ("markdown outputs", change(["cells", 0, "outputs"], [])),
    ("markdown execution_count", change(["cells", 0, "execution_count"], None)),
    ("code attachments", change(["cells", 2, "attachments"], {})),
    ("attachments list", change(["cells", 0, "attachments"], [])),
    ("attachment string", change(["cells", 0, "attachments", "a.png"], "x")),
    ("attachment mime number", change(["cells", 0, "attachments", "a.png", "image/png"], 1)),
    ("outputs missing", change(["cells", 2, "outputs"], DELETED)),
    ("outputs null", change(["cells", 2, "outputs"], None)),
    ("execution_count missing", change(["cells", 2, "execution_count"], DELETED)),
    ("execution_count negative", change(["cells", 2, "execution_count"], -1)),
    ("execution_count float", change(["cells", 2, "execution_count"], 1.5)),
    ("execution_count string", change(["cells", 2, "execution_count"], "1")),
    ("tags string", change(["cells", 2, "metadata", "tags"], "a")),
    ("tags twice", change(["cells", 2, "metadata", "tags"], ["a", "a"])),
    ("tags comma", change(["cells", 2, "metadata", "tags"], ["a,b"])),
    ("tags empty one", change(["cells", 2, "metadata", "tags"], [""])),
    ("tags none", change(["cells", 2, "metadata", "tags"], [])),
    ("name empty", change(["cells", 2, "metadata", "name"], "")),
    ("name", change(["cells", 2, "metadata", "name"], "n")),
    ("jupyter list", change(["cells", 2, "metadata", "jupyter"], [])),
    ("jupyter list 4.2", change(["cells", 2, "metadata", "jupyter"], [], 2)),
    ("execution number", change(["cells", 2, "metadata", "execution"], {"x": 1})),
    ("execution number 4.3", change(["cells", 2, "metadata", "execution"], {"x": 1}, 3)),
    ("execution", change(["cells", 2, "metadata", "execution"], {"iopub.status.busy": "t"})),
    ("execution in markdown", change(["cells", 0, "metadata", "execution"], 1)),
    ("collapsed string", change(["cells", 2, "metadata", "collapsed"], "yes")),
    ("scrolled string", change(["cells", 2, "metadata", "scrolled"], "yes")),
    ("output type unknown", change(OUT + [0, "output_type"], "strem")),
    ("output type missing", change(OUT + [0, "output_type"], DELETED)),
    ("stream name missing", change(OUT + [0, "name"], DELETED)),
    ("stream name odd", change(OUT + [0, "name"], "stdlog")),
    ("stream text missing", change(OUT + [0, "text"], DELETED)),
    ("stream text number", change(OUT + [0, "text"], 1)),
    ("stream extra", change(OUT + [0, "metadata"], {})),
    ("display no metadata", change(OUT + [2, "metadata"], DELETED)),
    ("display no data", change(OUT + [2, "data"], DELETED)),
    ("display data list", change(OUT + [2, "data"], [])),
    ("display text object", change(OUT + [2, "data", "text/plain"], {})),
    ("display json null", change(OUT + [2, "data", "application/json"], None)),
    ("display extra", change(OUT + [2, "transient"], {})),
    ("display count", change(OUT + [2, "execution_count"], 1)),
    ("result no count", change(OUT + [3, "execution_count"], DELETED)),
    ("result null count", change(OUT + [3, "execution_count"], None)),
    ("error no ename", change(OUT + [4, "ename"], DELETED)),
    ("error evalue number", change(OUT + [4, "evalue"], 1)),
    ("error traceback string", change(OUT + [4, "traceback"], "x")),
    ("error traceback numbers", change(OUT + [4, "traceback"], [1])),
    ("error traceback missing", change(OUT + [4, "traceback"], DELETED)),
    ("later minor with news", {**notebook(7), "surprise": 1}),
]


def dump(name, value):
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    (HERE / name).write_text(text, encoding="utf-8")


def validity():
    cases = []
    for name, nb in MUTATIONS:
        if nb is None:
            continue
        # As nbformat.reads: never stored things go before the check.
        checked = nbformat.from_dict(copy.deepcopy(nb))
        checked.get("metadata") and nbformat.v4.rwbase.strip_transient(
            nbformat.from_dict({"metadata": checked.metadata, "cells": []}))
        try:
            nbformat.validate(checked)
            valid = True
        except nbformat.ValidationError:
            valid = False
        cases.append({"name": name, "notebook": nb, "valid": valid})
    dump("validity.json", cases)


def written(nb):
    text = nbformat.writes(nb)
    return text if text.endswith("\n") else text + "\n"


def formats():
    out = HERE / "format"
    out.mkdir(exist_ok=True)
    for minor in (0, 4, 5):
        source = json.dumps(notebook(minor))
        (out / f"all-{minor}.in").write_text(source + "\n", encoding="utf-8")
        nb = nbformat.reads(source, as_version=nbformat.NO_CONVERT)
        (out / f"all-{minor}.ipynb").write_bytes(written(nb).encode())
    source = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []})
    (out / "empty.in").write_text(source, encoding="utf-8")
    (out / "empty.ipynb").write_bytes(written(nbformat.reads(source, as_version=nbformat.NO_CONVERT)).encode())


# What a kernel publishes, and what nbclient makes of it.

DATE = "2024-05-01T10:00:0%d.123456Z"


def msg(msg_type, content, cell=0, second=1, buffers=(), metadata=None):
    return {"msg_type": msg_type, "content": content, "cell": cell, "date": DATE % second,
            "metadata": metadata or {}, "buffers": [base64.b64encode(b).decode() for b in buffers]}


def stream(text, name="stdout", cell=0):
    return msg("stream", {"name": name, "text": text}, cell)


def display(text, id=None, cell=0, kind="display_data", **more):
    content = {"data": {"text/plain": text}, "metadata": {}, **more}
    if id:
        content["transient"] = {"display_id": id}
    return msg(kind, content, cell)


def status(state, cell=0, second=1):
    return msg("status", {"execution_state": state}, cell, second)


def widget(comm_id, **state):
    return {"comm_id": comm_id, "target_name": "jupyter.widget", "data": {"state": state, "buffer_paths": []}}


def output_widget(comm_id):
    return msg("comm_open", widget(comm_id, _model_module="@jupyter-widgets/output", _model_name="OutputModel",
                                   _model_module_version="1.0.0", msg_id="", outputs=[]))


def hook(comm_id, on, cell=0):
    return msg("comm_msg", {"comm_id": comm_id, "data": {"method": "update", "state": {"msg_id": on}}}, cell)


RESULT = {"kind": "execute_result", "execution_count": 4}
CASES = {
    "timing and count": [status("busy", second=1), msg("execute_input", {"code": "1", "execution_count": 4}, second=2),
                         display("1", **RESULT), status("idle", second=3)],
    "streams join": [stream("a"), stream("b\n"), stream("e", "stderr"), stream("c"), stream("\rd\b"), display("x"), stream("f")],
    "error": [stream("a"), msg("error", {"ename": "E", "evalue": "v", "traceback": ["t1", "t2"]})],
    "clear": [stream("a"), display("x"), msg("clear_output", {"wait": False}), stream("b")],
    "clear wait": [stream("a"), display("x"), msg("clear_output", {"wait": True}), stream("b"), stream("c")],
    "clear wait, nothing more": [stream("a"), msg("clear_output", {"wait": True})],
    "clear between streams": [stream("a"), msg("clear_output", {}), stream("b")],
    "update": [display("one", "d"), display("two"), display("three", "d", kind="update_display_data")],
    "update of another cell": [display("one", "d"), display("one", "d", cell=1), display("other", cell=1),
                               display("new", "d", cell=1, kind="update_display_data")],
    "display again": [display("one", "d"), display("two", "d")],
    "result with id": [display("one", "d", **RESULT), display("two", "d", kind="update_display_data")],
    "update of nothing": [display("three", "nowhere", kind="update_display_data"), display("x", "nowhere")],
    "update after clear": [display("one", "d"), msg("clear_output", {}), display("x"), display("two", "d", kind="update_display_data")],
    "update without id": [display("one", "d"), msg("update_display_data", {"data": {}, "metadata": {}, "transient": {}})],
    "transient": [msg("display_data", {"data": {"text/plain": "x"}, "metadata": {"a": 1}, "transient": {"other": 1}})],
    "unknown": [msg("debug_event", {"event": "x"}), msg("shutdown_reply", {"restart": False}), stream("a")],
    "widget state": [
        msg("comm_open", widget("w1", _model_name="IntSliderModel", _model_module="@jupyter-widgets/controls",
                                _model_module_version="1.5.0", value=1)),
        msg("comm_open", {"comm_id": "other", "target_name": "mine", "data": {"x": 1}}),
        msg("comm_msg", {"comm_id": "w1", "data": {"method": "update", "state": {"value": 7, "new": [1.0]}}}, cell=1),
        msg("comm_msg", {"comm_id": "w1", "data": {"method": "custom", "content": {}}}),
        msg("comm_open", widget("half", _model_module="m", value=1)),
        msg("comm_close", {"comm_id": "w1", "data": {}}),
        display("IntSlider()")],
    "widget buffers": [
        msg("comm_open", {"comm_id": "i", "target_name": "jupyter.widget", "data": {
            "state": {"_model_name": "ImageModel", "_model_module": "m", "_model_module_version": "1", "f": "png"},
            "buffer_paths": [["value"], ["deep", 0]]}}, buffers=[b"\x00\x01", b"two"]),
        msg("comm_msg", {"comm_id": "i", "data": {"method": "update", "state": {}, "buffer_paths": [["value"]]}}, buffers=[b"new"])],
    "output widget": [
        output_widget("o"), stream("before\n"), hook("o", "cell-0"), stream("in "), stream("in\n"), display("shown"),
        stream("e", "stderr"), hook("o", ""), stream("after\n")],
    "output widget clear": [
        output_widget("o"), hook("o", "cell-0"), stream("a"), msg("clear_output", {"wait": True}), stream("b"),
        msg("clear_output", {}), stream("c"), hook("o", ""), stream("after\n")],
    "output widgets nested": [
        output_widget("o"), output_widget("p"), hook("o", "cell-0"), stream("1"), hook("p", "cell-0"), stream("2"),
        hook("p", ""), stream("3"), hook("o", ""), stream("4")],
}


class Shell:
    """Notes what nbclient sends to the kernel."""

    def __init__(self):
        self.sent = []
        self.session = self
        self.shell_channel = self

    def msg(self, msg_type, content, parent, metadata):
        return {"msg_type": msg_type, "content": content, "parent": parent["msg_id"]}

    def send(self, m):
        self.sent.append(copy.deepcopy(m))


def joined(outputs):
    """Joins streams, which this nbclient leaves to others."""
    done = []
    for out in outputs:
        if done and out["output_type"] == "stream" == done[-1]["output_type"] and out["name"] == done[-1]["name"]:
            done[-1]["text"] += out["text"]
        else:
            done.append(out)
    return done


def record():
    cases = []
    for name, messages in CASES.items():
        nb = new_notebook(cells=[new_code_cell("a", id="zero"), new_code_cell("b", id="one"), new_markdown_cell("c", id="two")])
        asyncio.set_event_loop(asyncio.new_event_loop())
        client = NotebookClient(nb)
        client.kc = Shell()
        client.clear_before_next_output = False
        current = None
        for m in messages:
            cell = nb.cells[m["cell"]]
            if "execution" not in cell.metadata:
                cell.metadata["execution"] = {}
            if m["cell"] != current:
                current, client.clear_before_next_output = m["cell"], False
            date = datetime.datetime.strptime(m["date"], "%Y-%m-%dT%H:%M:%S.%f%z")
            full = copy.deepcopy({
                "msg_type": m["msg_type"], "content": m["content"], "metadata": m["metadata"],
                "header": {"msg_type": m["msg_type"], "date": date}, "parent_header": {"msg_id": f"cell-{m['cell']}"},
                "buffers": [base64.b64decode(b) for b in m["buffers"]]})
            try:
                client.process_message(full, cell, m["cell"])
            except CellExecutionComplete:
                pass
        client.set_widgets_metadata()
        for cell in nb.cells:
            if cell.cell_type == "code":
                cell.outputs = joined(cell.outputs)
        cases.append({"name": name, "messages": messages, "notebook": json.loads(written(nb)), "sent": client.kc.sent})
    dump("record.json", cases)


formats()
validity()
record()
