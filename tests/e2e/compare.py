"""Compares the outputs of executed notebooks, apart from what no two runs share."""

import base64
import difflib
import json
import re
import struct

# What differs from run to run, or between kernels by right.
PATTERNS = [
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"\b0x[0-9a-fA-F]{6,}\b"), "0xADDRESS"),
    # Files that cells are compiled under: /tmp/ipykernel_12/345.py, <ipython-input-1-abc>, Cell In[1].
    (re.compile(r"/[^\s\"']*/(?:ipykernel|gokernel)[^\s\"':]*\.py"), "CELL"),
    (re.compile(r"\b\d{4,}\.py\b"), "CELL"),
    # ipykernel gives commands a terminal, whose lines end so.
    (re.compile(r"\r\n"), "\n"),
    (re.compile(r"<(?:ipython-input|gokernel)[^>]*>"), "CELL"),
    (re.compile(r"(?:Input )?In ?\[\d+\]"), "CELL"),
    (re.compile(r"\b[0-9a-f]{32}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(?:ns|us|\u00b5s|\u03bcs|ms|s|min)\b"), "TIME"),
    (re.compile(r"CPU times:.*"), "TIMES"),
    (re.compile(r"Wall time:.*"), "TIMES"),
    (re.compile(r"\bpid[ =:]+\d+"), "PID"),
    (re.compile(r"/tmp/[^\s\"',)]+"), "TEMPORARY"),
    (re.compile(r"-{10,}"), "-----"),
]


def text(s):
    if isinstance(s, list):
        s = "".join(s)
    for pattern, replacement in PATTERNS:
        s = pattern.sub(replacement, s)
    return s


def png(data):
    """Width and height stand for a picture: fonts and compressors differ, sizes do not."""
    raw = base64.b64decode("".join(data) if isinstance(data, list) else data)
    assert raw[:8] == b"\x89PNG\r\n\x1a\n", "no PNG: %r" % raw[:8]
    return "PNG %d x %d" % struct.unpack(">II", raw[16:24])


def bundle(data):
    out = {}
    for mime, value in data.items():
        if mime == "image/png":
            out[mime] = png(value)
        elif isinstance(value, (str, list)):
            out[mime] = text(value)
        else:
            out[mime] = json.loads(text(json.dumps(value, sort_keys=True)))
    return out


def outputs(cell):
    """A cell's outputs as plain data, with neighbouring text joined."""
    out = []
    for o in cell.get("outputs", []):
        kind = o["output_type"]
        if kind == "stream":
            if out and out[-1][:2] == ["stream", o["name"]]:
                out[-1][2] += "".join(o["text"])
            else:
                out.append(["stream", o["name"], "".join(o["text"])])
        elif kind == "error":
            frames = text("\n".join(o["traceback"]))
            # How much of the library's frames is shown is a matter of taste; which exception it was is not.
            out.append(["error", o["ename"], text(o["evalue"]), o["ename"] in frames])
        else:
            out.append([kind, bundle(o["data"])])
    for o in out:
        if o[0] == "stream":
            # As a terminal shows it: nbconvert keeps only what a carriage return leaves to see.
            o[2] = text(re.sub(r"[^\n]*\r(?=[^\n\r])", "", o[2]))
    return out


def by_stream(outs):
    """stdout and stderr are two pipes: only the order within each, and around displays, is promised."""
    result, run = [], {}
    for o in outs + [None]:
        if o is not None and o[0] == "stream":
            run[o[1]] = run.get(o[1], "") + o[2]
            continue
        result += [["stream", name, run[name]] for name in sorted(run)]
        run = {}
        if o is not None:
            result.append(o)
    return result


def differences(got, want):
    """Yields a description for each cell in which two executed notebooks differ."""
    got_cells = [c for c in got["cells"] if c["cell_type"] == "code"]
    want_cells = [c for c in want["cells"] if c["cell_type"] == "code"]
    if len(got_cells) != len(want_cells):
        yield "%d code cells, want %d" % (len(got_cells), len(want_cells))
    for i, (g, w) in enumerate(zip(got_cells, want_cells)):
        tags = w["metadata"].get("tags", [])
        if g.get("execution_count") != w.get("execution_count"):
            yield "cell %d: execution_count %s, want %s" % (i, g.get("execution_count"), w.get("execution_count"))
        a, b = by_stream(outputs(g)), by_stream(outputs(w))
        if "varies" in tags:
            a, b = [o[:2] if o[0] == "stream" else o[0] for o in a], [o[:2] if o[0] == "stream" else o[0] for o in b]
        if a != b:
            lines = difflib.unified_diff(
                json.dumps(b, indent=1, sort_keys=True, ensure_ascii=False).splitlines(),
                json.dumps(a, indent=1, sort_keys=True, ensure_ascii=False).splitlines(),
                "want", "got", lineterm="", n=1,
            )
            yield "cell %d:\n%s\n  %s" % (i, "".join(w["source"])[:300], "\n  ".join(list(lines)[:40]))
