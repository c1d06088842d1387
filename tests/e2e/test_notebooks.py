"""examples/*.ipynb through nbclient, nbconvert and gokernel run, cell by cell like ipykernel's."""

import glob
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from e2e import compare, harness

nbformat = harness.need("nbformat")
nbclient = harness.need("nbclient")
harness.need("nbconvert")

EXAMPLES = sorted(glob.glob(os.path.join(os.path.dirname(__file__), "..", "..", "examples", "*.ipynb")))
# Without IPython: what needs neither magics nor IPython's widgets and inline figures.
PLAIN = ("quickstart", "async", "errors-and-input")


WIDGETS = ("widgets",)
try:
    OLD_WIDGETS = int(importlib.metadata.version("ipywidgets").split(".")[0]) < 7
except importlib.metadata.PackageNotFoundError:
    OLD_WIDGETS = False


class OldWidgets(nbclient.NotebookClient):
    """nbclient fails on every widget of ipywidgets before 7, whose messages have no state."""

    def on_comm_open_jupyter_widget(self, msg):
        return None


def name_of(path):
    return os.path.splitext(os.path.basename(path))[0]


def notebook(path):
    with open(path) as f:
        return json.load(f)


class Notebooks(unittest.TestCase):
    maxDiff = None
    references = {}

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.assertGreaterEqual(len(EXAMPLES), 5)

    def examples(self):
        for path in EXAMPLES:
            name = name_of(path)
            if not harness.IS_PLAIN or name in PLAIN:
                yield name, path

    def nbconvert(self, path, kernel):
        """Executes a copy in a directory of its own, as the notebooks may write files."""
        directory = tempfile.mkdtemp(dir=self.directory)
        copy = shutil.copy(path, directory)
        done = subprocess.run(
            [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--output", "out",
             "--ExecutePreprocessor.kernel_name=" + kernel, "--ExecutePreprocessor.timeout=120", copy],
            cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240,
        )
        self.assertEqual(done.returncode, 0, done.stdout[-4000:])
        return notebook(os.path.join(directory, "out.ipynb"))

    def nbclient(self, path, kernel):
        nb = nbformat.read(path, as_version=4)
        directory = tempfile.mkdtemp(dir=self.directory)
        client = OldWidgets if name_of(path) in WIDGETS and OLD_WIDGETS else nbclient.NotebookClient
        client(nb, kernel_name=kernel, timeout=120, resources={"metadata": {"path": directory}}).execute()
        return json.loads(nbformat.writes(nb))

    def reference(self, path):
        if path not in self.references:
            self.references[path] = self.nbclient(path, "python3")
        return self.references[path]

    def same(self, got, path):
        found = list(compare.differences(got, self.reference(path)))
        self.assertFalse(found, "\n".join(found))

    def test_nbconvert(self):
        for name, path in self.examples():
            if name in WIDGETS and OLD_WIDGETS:
                continue  # no kernel can: see OldWidgets
            with self.subTest(name):
                got = self.nbconvert(path, harness.KERNEL_NAME)
                # Without IPython it is enough that no cell fails that should not.
                if not harness.IS_PLAIN:
                    self.same(got, path)

    @harness.not_plain
    def test_nbclient(self):
        for name, path in self.examples():
            with self.subTest(name):
                self.same(self.nbclient(path, harness.KERNEL_NAME), path)

    @harness.only_gokernel
    @harness.not_plain
    def test_gokernel_run(self):
        for name, path in self.examples():
            with self.subTest(name):
                directory = tempfile.mkdtemp(dir=self.directory)
                copy = shutil.copy(path, directory)
                out = os.path.join(directory, "out.ipynb")
                done = subprocess.run(
                    [harness.GOKERNEL, "run", copy, "-o", out, "--python", sys.executable],
                    cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240,
                )
                self.assertEqual(done.returncode, 0, done.stdout[-4000:])
                nbformat.validate(nbformat.read(out, as_version=4))
                self.same(notebook(out), path)

    def test_errors_stop_a_run(self):
        """Without allow-errors nbclient stops at the cell that fails, and says why."""
        nb = nbformat.v4.new_notebook(cells=[
            nbformat.v4.new_code_cell("print('one')"), nbformat.v4.new_code_cell("1/0"),
            nbformat.v4.new_code_cell("print('never')"),
        ])
        with self.assertRaises(nbclient.exceptions.CellExecutionError) as caught:
            nbclient.NotebookClient(nb, kernel_name=harness.KERNEL_NAME, timeout=60).execute()
        self.assertEqual(caught.exception.ename, "ZeroDivisionError")
        self.assertEqual(nb.cells[2].outputs, [])

    def test_timeout_interrupts(self):
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("while True: pass"),
                                             nbformat.v4.new_code_cell("2")])
        client = nbclient.NotebookClient(
            nb, kernel_name=harness.KERNEL_NAME, timeout=2, interrupt_on_timeout=True, allow_errors=True,
        )
        client.execute()
        self.assertEqual(nb.cells[0].outputs[0]["ename"], "KeyboardInterrupt")


class Compare(unittest.TestCase):
    """The comparison finds what it must find."""

    def one(self, *outs, **cell):
        return {"cells": [dict({"cell_type": "code", "source": "x", "metadata": {}, "execution_count": 1,
                                "outputs": list(outs)}, **cell)]}

    def stream(self, s, name="stdout"):
        return {"output_type": "stream", "name": name, "text": s}

    def test_differences(self):
        same = [
            ([self.stream("a"), self.stream("b")], [self.stream("ab")]),
            ([self.stream("<object at 0x7f00aabbcc>")], [self.stream("<object at 0x7faabbccdd>")]),
            ([self.stream("took 12 ms")], [self.stream("took 99.5 s")]),
        ]
        for a, b in same:
            self.assertEqual(list(compare.differences(self.one(*a), self.one(*b))), [])
        other = [
            ([self.stream("a")], [self.stream("b")]),
            ([self.stream("a")], [self.stream("a", "stderr")]),
            ([self.stream("a")], []),
            ([{"output_type": "error", "ename": "E", "evalue": "1", "traceback": []}],
             [{"output_type": "error", "ename": "E", "evalue": "2", "traceback": []}]),
        ]
        for a, b in other:
            self.assertEqual(len(list(compare.differences(self.one(*a), self.one(*b)))), 1)
        self.assertTrue(list(compare.differences(self.one(execution_count=1), self.one(execution_count=2))))
