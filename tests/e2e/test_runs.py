"""Cells as runs: files, packages, environment, downloads, stages and timing in metadata.gokernel."""

import base64
import hashlib
import os
import re
import tempfile
import threading
import unittest
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from e2e import harness
from e2e.harness import Kernel, KernelCase

PROGRESS = "application/vnd.gokernel.progress+json"
FIELDS = {"run_id", "stage", "percent", "message", "elapsed_ms", "remaining_ms", "done", "total", "unit"}
STAGES = ["initializing", "connecting", "uploading", "installing", "executing", "downloading"]


class Index:
    """A package index on loopback with tiny wheels, ended with the test."""

    def __init__(self, case, **packages):
        self.directory = tempfile.TemporaryDirectory(prefix="gokernel-index-")
        case.addClassCleanup(self.directory.cleanup)
        self.hold = threading.Event()  # wheels wait for it
        self.hold.set()
        self.asked = threading.Event()  # a wheel has been asked for
        self.requests = []
        for name, version in packages.items():
            self.add(name, version)
        index = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=index.directory.name)

            def do_GET(self):
                index.requests.append(self.path)
                if self.path.endswith(".whl"):
                    index.asked.set()
                    index.hold.wait(harness.TIMEOUT)
                super().do_GET()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None  # installers that are ended hang up
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        case.addClassCleanup(self._close, thread)

    def _close(self, thread):
        self.hold.set()
        self.server.shutdown()
        thread.join()
        self.server.server_close()

    def add(self, name, version):
        project = name.replace("_", "-")
        folder = os.path.join(self.directory.name, "simple", project)
        os.makedirs(folder, exist_ok=True)
        info = "%s-%s.dist-info/" % (name, version)
        with zipfile.ZipFile(os.path.join(folder, "%s-%s-py3-none-any.whl" % (name, version)), "w") as wheel:
            files = {
                name + ".py": "version = %r\n" % version,
                info + "METADATA": "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (project, version),
                info + "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            }
            record = []
            for path, text in files.items():
                wheel.writestr(path, text)
                digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
                record.append("%s,sha256=%s,%d\n" % (path, digest, len(text)))
            wheel.writestr(info + "RECORD", "".join(record) + info + "RECORD,,\n")

    @property
    def url(self):
        return "http://127.0.0.1:%d/simple/" % self.server.server_port

    def environment(self):
        """The environment of a kernel whose installers know this index only."""
        env = {k: v for k, v in os.environ.items() if not k.upper().startswith(("PIP_", "UV_"))}
        env.update(
            PIP_INDEX_URL=self.url, PIP_CONFIG_FILE=os.devnull, PIP_NO_CACHE_DIR="1", PIP_RETRIES="0",
            UV_INDEX_URL=self.url, UV_DEFAULT_INDEX=self.url, UV_NO_CACHE="1", UV_NO_CONFIG="1",
            NO_PROXY="127.0.0.1", no_proxy="127.0.0.1",
        )
        return env


def answer(result):
    """What stands in the reply about the run."""
    return result.reply["metadata"]["gokernel"]


def shown(result):
    """The stage reports of a cell: data of one display and its updates."""
    ids, reports = set(), []
    for m in result.messages:
        data = m["content"].get("data", {})
        if PROGRESS in data:
            assert m["msg_type"] == ("update_display_data" if reports else "display_data"), m
            assert m["parent_header"]["msg_id"] == result.msg_id
            ids.add(m["content"]["transient"]["display_id"])
            reports.append(data)
    assert len(ids) <= 1, ids
    return reports


class RunCase(KernelCase):
    """Its kernel runs in a directory of its own, for cells bring files."""

    @classmethod
    def setUpClass(cls):
        cls.begin()

    @classmethod
    def begin(cls, **options):
        directory = tempfile.TemporaryDirectory(prefix="gokernel-runs-")
        cls.addClassCleanup(directory.cleanup)
        cls.kernel = Kernel(cwd=directory.name, **options)
        cls.addClassCleanup(cls.kernel.stop)

    def run_cell(self, code, silent=False, **run):
        return self.client.run(code, silent=silent, metadata={"cellId": "x", "gokernel": run})

    def good(self, code, **run):
        result = self.run_cell(code, **run)
        self.assertEqual(result.status, "ok", result)
        return result

    def check_timing(self, timing, *stages):
        self.assertAlmostEqual(sum(timing["stages"].values()), timing["total_ms"], delta=1)
        self.assertAlmostEqual(sum(timing["share"].values()), 1, delta=0.01)
        self.assertEqual(set(timing["stages"]), set(timing["share"]))
        self.assertLessEqual(set(timing["stages"]), set(STAGES))
        for stage in stages:
            self.assertGreater(timing["stages"].get(stage, 0), 0, (stage, timing))


class Metadata(RunCase):
    def test_a_cell_that_asks_for_nothing_gets_nothing_more(self):
        """The transcript is that of any kernel, whatever else stands in the metadata."""
        for metadata in (None, {}, {"cellId": "7"}, {"other": {"gokernel": {"progress": "always"}}}):
            result = self.client.run("print('x')\n40 + 2", metadata=metadata)
            self.assertEqual(
                [harness.transcript_line(m) for m in result.messages],
                ["status busy", "execute_input", "stream stdout 'x\\n'", "execute_result", "status idle"],
            )
            got = answer(result)
            self.assertEqual(set(got), {"session_id", "timing", "insights"})
            self.check_timing(got["timing"], "executing")
            self.assertNotIn("failed_stage", got["timing"])
        self.assertEqual(self.client.run("1/0").reply["metadata"]["gokernel"]["timing"]["failed_stage"], "executing")

    def test_reply_names_the_session(self):
        got = answer(self.client.run("1"))
        self.assertRegex(got["session_id"], r"\A[0-9a-f-]{36}\Z")
        self.assertEqual(got["session_id"], answer(self.client.run("2"))["session_id"])

    def test_files_and_downloads(self):
        raw = bytes(range(256))
        result = self.good(
            "data = open('in/raw.bin', 'rb').read()\n"
            "open('out.bin', 'wb').write(data[::-1])\n"
            "print(open('greet.txt', encoding='utf-8').read(), len(data))",
            files={"greet.txt": "gr\u00fc\u00df dich", "in/raw.bin": {"base64": base64.b64encode(raw).decode()}},
            downloads=["out.bin", "nowhere.txt"],
        )
        self.assertEqual(result.text(), "gr\u00fc\u00df dich 256\n")
        got = answer(result)
        self.check_timing(got["timing"], "uploading", "executing", "downloading")
        files = got["files"]
        self.assertEqual(base64.b64decode(files["out.bin"]["base64"]), raw[::-1])
        self.assertEqual(files["out.bin"]["size"], 256)
        self.assertEqual(files["out.bin"]["sha256"], hashlib.sha256(raw[::-1]).hexdigest())
        self.assertTrue(files["nowhere.txt"]["error"], files)
        self.assertNotIn("base64", files["nowhere.txt"])

    def test_changed_files_are_changed(self):
        """peers D1: what counts is the content, not the path."""
        for text in ("one", "two", "two", "one"):
            self.assertEqual(self.good("print(open('same.txt').read())", files={"same.txt": text}).text(), text + "\n")

    def test_downloads_of_a_cell_that_raises(self):
        """peers D18: what there is comes back on every way out."""
        result = self.run_cell("open('kept.txt', 'w').write('kept')\n1/0", downloads=["kept.txt"])
        self.assertEqual(result.content["ename"], "ZeroDivisionError")
        got = answer(result)
        self.assertEqual(base64.b64decode(got["files"]["kept.txt"]["base64"]), b"kept")
        self.assertEqual(got["timing"]["failed_stage"], "executing")

    def test_environment(self):
        show = "import os; print(os.environ.get('GOKERNEL_E2E'), os.environ.get('HOME') is None)"
        self.assertEqual(self.good(show, env={"GOKERNEL_E2E": "a=b \u00fc"}).text(), "a=b \u00fc False\n")
        self.assertEqual(self.ok(show).text(), "None False\n")
        awaits = "import asyncio; await asyncio.sleep(0.01)\n" + show
        self.assertEqual(self.good(awaits, env={"GOKERNEL_E2E": "x"}).text(), "x False\n")
        self.good("os.environ['GOKERNEL_E2E'] = 'mine'", env={"GOKERNEL_E2E": "x"})
        self.assertEqual(self.ok(show + "\ndel os.environ['GOKERNEL_E2E']").text(), "mine False\n")

    WRONG = {
        "files": [
            {"a.txt": {"path": "/etc/passwd"}}, {"a.txt": {"source": "/etc/passwd"}}, {"/etc/passwd": "x"},
            {"../a.txt": "x"}, {"a/../../b": "x"}, {"": "x"}, {"a\u0000b": "x"}, {"a.txt": 5}, {"a.txt": None},
            {"a.txt": {"base64": "%"}}, {"a.txt": {"base64": "eA==", "path": "x"}}, ["a.txt"], "a.txt",
        ],
        "packages": ["six", [5], {"six": "1"}, ["--upgrade"], ["six; rm -rf /"], ["./here"], ["-r x"], [""]],
        "env": [{"A": 5}, {"A=B": "c"}, {"": "x"}, {"A": "x\u0000y"}, ["A=B"], "A=B"],
        "downloads": ["x", [5], ["/etc/passwd"], ["../x"], [""], ["a/../../b"]],
        "progress": ["loud", 5, True],
        "cwd": ["/"],
        "manifest": [[{"path": "a", "size": 1, "sha256": "0" * 64}]],
        "limit": [5],
        "pull": [True],
        "language": ["javascript"],
        "nonsense": [1],
    }

    def test_wrong_metadata_is_refused_with_the_field(self):
        """peers D17: nothing runs, the error says what is wrong, the kernel lives."""
        self.ok("ran = []")
        for field, values in self.WRONG.items():
            for value in values:
                with self.subTest(field=field, value=value):
                    result = self.run_cell("ran.append(%r)" % field, **{field: value})
                    self.assertEqual((result.status, result.content["ename"]), ("error", "InvalidRequest"))
                    self.assertIn("metadata.gokernel." + field, result.content["evalue"])
                    self.assertEqual([m["content"]["ename"] for m in result.of("error")], ["InvalidRequest"])
                    self.assertEqual(shown(result), [])
        for value in ("text", 5, ["files"]):
            with self.subTest(value=value):
                result = self.client.run("ran.append('all')", metadata={"gokernel": value})
                self.assertEqual((result.status, result.content["ename"]), ("error", "InvalidRequest"))
        self.assertEqual(self.ok("ran").data(), "[]")

    def test_a_path_does_not_leave_by_a_link(self):
        with tempfile.TemporaryDirectory() as outside:
            self.ok("import os; os.symlink(%r, 'link')" % outside)
            self.addCleanup(self.ok, "os.remove('link')")
            result = self.run_cell("print('run')", files={"link/x.txt": "x"})
            self.assertEqual((result.status, result.content["ename"]), ("error", "UploadError"))
            self.assertEqual((result.text(), os.listdir(outside)), ("", []))
            with open(os.path.join(outside, "secret"), "w") as f:
                f.write("secret")
            got = answer(self.good("1", downloads=["link/secret"]))["files"]["link/secret"]
            self.assertTrue(got["error"])
            self.assertNotIn("base64", got)


class Progress(RunCase):
    def test_always(self):
        result = self.good("print('x')", files={"a.txt": "a" * 5000}, downloads=["a.txt"], progress="always")
        reports = shown(result)
        self.assertGreater(len(reports), 2)
        objects = [r[PROGRESS] for r in reports]
        seen = [o["stage"] for o in objects]
        self.assertEqual([s for s in STAGES if s in seen], [s for i, s in enumerate(seen[:-1]) if s not in seen[:i]])
        self.assertEqual(seen[-1], "completed")
        self.assertLessEqual({"uploading", "executing", "downloading"}, set(seen))
        for o in objects:
            self.assertLessEqual(set(o), FIELDS)
            self.assertEqual(o["run_id"], objects[0]["run_id"])
            self.assertTrue(0 <= o.get("percent", 0) <= 100, o)
        elapsed = [o["elapsed_ms"] for o in objects]
        self.assertEqual(elapsed, sorted(elapsed))
        for r in reports:
            self.assertNotIn("\n", r["text/plain"])
            self.assertNotRegex(r["text/html"], r"(?i)<script|<style|<link|<img|src=|href=|url\(|color:|background")
        last = reports[-1]
        self.assertEqual(last["text/plain"], objects[-1]["message"])
        self.assertRegex(last["text/plain"], r"\AUploaded 5\.0 kB, downloaded 5\.0 kB in .*s\Z")
        self.assertNotIn("<progress", last["text/html"])
        # Shown before the reply, so that who waits for that has it all.
        self.assertEqual([m["msg_type"] for m in result.messages][-1], "status")

    def test_what_fails_says_so(self):
        reports = shown(self.run_cell("1/0", files={"b.txt": "b"}, progress="always"))
        self.assertEqual(reports[-1][PROGRESS]["stage"], "failed")
        self.assertIn("executing", reports[-1]["text/plain"])

    def test_auto_shows_nothing_of_what_is_quick(self):
        for progress in ({}, {"progress": "auto"}):
            # The code itself may take as long as it likes.
            result = self.good("import time; time.sleep(0.6)", files={"c.txt": "c"}, **progress)
            self.assertEqual(shown(result), [])

    def test_never(self):
        self.assertEqual(shown(self.good("1", files={"d.txt": "d"}, progress="never")), [])

    def test_silent(self):
        result = self.run_cell("open('e.txt').read()", silent=True, files={"e.txt": "e"}, progress="always")
        self.assertEqual(result.status, "ok")
        self.assertEqual(result.outputs, [])


class PackageCase(RunCase):
    """A kernel whose installers know an index on loopback only."""

    @classmethod
    def setUpClass(cls):
        harness.need("pip")
        cls.index = Index(cls, gokernel_one="1.0", gokernel_two="2.0", gokernel_three="3.0", gokernel_slow="1.0")
        cls.begin(env=cls.index.environment())


class Packages(PackageCase):
    def test_installed_before_the_code_runs(self):
        result = self.good(
            "import gokernel_one as p; print(p.version, p.__file__)", packages=["gokernel-one==1.0"], progress="always")
        version, path = result.text().split()
        self.assertEqual(version, "1.0")
        self.assertIn(os.environ["XDG_STATE_HOME"], path)
        self.check_timing(answer(result)["timing"], "installing", "executing")
        reports = [r[PROGRESS] for r in shown(result)]
        self.assertIn("installing", [r["stage"] for r in reports])
        percents = [r["percent"] for r in reports if r["stage"] == "installing" and "percent" in r]
        self.assertEqual(percents, sorted(percents))
        self.assertRegex(shown(result)[-1]["text/plain"], r"\AInstalled 1 package in .*s\Z")
        # It is there: nothing is installed again, and in auto nothing is shown.
        before = len(self.index.requests)
        again = self.good("p.version", packages=["gokernel-one==1.0"])
        self.assertEqual((again.data(), shown(again)), ("'1.0'", []))
        self.assertEqual(len(self.index.requests), before)

    def test_a_failed_install_fails_the_cell(self):
        """peers D2: with what the installer wrote, and not as installed."""
        for _ in range(2):
            result = self.run_cell("print('run')", packages=["gokernel-nowhere"])
            self.assertEqual((result.status, result.content["ename"]), ("error", "InstallError"), result)
            self.assertIn("gokernel-nowhere", result.content["evalue"])
            self.assertRegex(result.content["evalue"], r"(?i)no matching distribution|not found")
            self.assertEqual(result.text(), "")
            self.assertEqual(answer(result)["timing"]["failed_stage"], "installing")
        self.assertEqual(self.ok("1 + 1").data(), "2")

    def test_auto_shows_what_takes_a_while(self):
        self.index.add("gokernel_while", "1.0")
        self.index.hold.clear()
        self.index.asked.clear()
        self.addCleanup(self.index.hold.set)
        msg_id = self.client.start("1", metadata={"gokernel": {"packages": ["gokernel-while"]}})
        self.client.wait(
            lambda: any(PROGRESS in m["content"].get("data", {}) for m in self.client.iopub[msg_id]), "a stage report")
        self.index.hold.set()
        result = self.client.finish(msg_id)
        reports = shown(result)
        self.assertEqual((result.status, reports[-1][PROGRESS]["stage"]), ("ok", "completed"), result)
        self.assertEqual([m["msg_type"] for m in result.messages].count("display_data"), 1)

    def test_an_interrupt_ends_the_installer(self):
        self.index.add("gokernel_hangs", "1.0")
        for how in ("metadata", "magic"):
            with self.subTest(how):
                self.index.hold.clear()
                self.index.asked.clear()
                self.addCleanup(self.index.hold.set)
                if how == "magic":
                    msg_id = self.client.start("%packages gokernel-hangs")
                else:
                    msg_id = self.client.start("1", metadata={"gokernel": {"packages": ["gokernel-hangs"]}})
                self.client.wait(self.index.asked.is_set, "the installer to ask for the wheel")
                self.kernel.manager.interrupt_kernel()
                result = self.client.finish(msg_id)
                self.assertEqual((result.status, result.content["ename"]), ("error", "KeyboardInterrupt"), result)
                self.index.hold.set()
                self.assertEqual(self.ok("try: import gokernel_hangs\nexcept ImportError: print('none')").text(), "none\n")


class Magics(PackageCase):
    def test_packages(self):
        result = self.ok("%packages gokernel-two gokernel-three")
        self.assertRegex(result.text(), r"\AInstalled gokernel.three 3\.0, gokernel.two 2\.0\.\n")
        reports = shown(result)
        self.assertEqual(reports[-1][PROGRESS]["stage"], "completed")
        self.assertRegex(reports[-1]["text/plain"], r"\AInstalled 2 packages in .*s\Z")
        self.assertEqual(self.ok("import gokernel_two, gokernel_three; gokernel_two.version").data(), "'2.0'")
        self.assertRegex(self.ok("%packages").text(), r"(?m)^gokernel.three 3\.0$")
        again = self.ok("%packages gokernel-two")
        self.assertIn("there already", again.text())
        self.assertEqual(shown(again), [])
        result = self.client.run("%packages gokernel-nowhere")
        self.assertEqual((result.status, result.content["ename"]), ("error", "InstallError"))
        self.assertIn("gokernel-nowhere", result.content["evalue"])
        result = self.client.run("%packages --upgrade six")
        self.assertEqual((result.status, result.content["ename"]), ("error", "InstallError"))

    def test_session(self):
        session_id = answer(self.client.run("1"))["session_id"]
        self.ok("ballast = bytearray(80 << 20)")
        text = self.ok("%session").text()
        rows = dict(re.split(r" {2,}", line, maxsplit=1) for line in text.splitlines())
        self.assertIn(session_id, rows["session"])
        self.assertIn("busy", rows["state"])
        self.assertIn("ends with its kernel", rows["state"])
        self.assertEqual(rows["language"], "python")
        self.assertEqual(rows["directory"], self.ok("import os; print(os.getcwd())").text().strip())
        memory = re.search(r"([\d.]+) (MB|GB) of memory", rows["uses"])
        self.assertTrue(memory, rows)
        self.assertTrue(memory.group(2) == "GB" or float(memory.group(1)) > 80, rows)
        self.ok("del ballast")

    def test_timing(self):
        self.ok("import time; time.sleep(0.05)")
        lines = self.ok("%timing 1").text().splitlines()
        self.assertEqual(len(lines), 2)
        self.assertRegex(lines[1], r"\A\d\d:\d\d:\d\d +cell +\d+ m?s .*executing \d+ m?s \(\d+ %\)")
        self.assertEqual(self.client.run("%timing 99").status, "error")

    def test_questions(self):
        for name in ("packages", "session", "timing"):
            payload = self.ok("%" + name + "?").content["payload"]
            self.assertIn("%" + name, payload[0]["data"]["text/plain"])
            reply = self.client.request(
                "shell", "inspect_request", {"code": "%" + name, "cursor_pos": 3, "detail_level": 0})
            self.assertTrue(reply.content["found"])
            reply = self.client.request("shell", "complete_request", {"code": "%" + name[:4], "cursor_pos": 5})
            self.assertIn("%" + name, reply.content["matches"])


class Persistence(unittest.TestCase):
    """What a session shows does not depend on who looks."""

    def test_a_notebook_keeps_one_quiet_line(self):
        nbformat, nbclient = harness.need("nbformat"), harness.need("nbclient")
        index = Index(type(self), gokernel_noted="1.0")
        nb = nbformat.v4.new_notebook(cells=[
            nbformat.v4.new_code_cell("%packages gokernel-noted"),
            nbformat.v4.new_code_cell("import gokernel_noted; print(gokernel_noted.version)"),
        ])
        with tempfile.TemporaryDirectory() as directory:
            client = nbclient.NotebookClient(
                nb, kernel_name=harness.KERNEL_NAME, timeout=120, resources={"metadata": {"path": directory}})
            client.execute(env=index.environment())
        nbformat.validate(nb)
        first, second = nb.cells
        displays = [o for o in first.outputs if o.output_type == "display_data"]
        self.assertEqual(len(displays), 1, first.outputs)
        data = displays[0]["data"]
        self.assertRegex(data["text/plain"], r"\AInstalled 1 package in .*s\Z")
        self.assertEqual(data[PROGRESS]["stage"], "completed")
        self.assertNotIn("<progress", data["text/html"])
        texts = [o["text"] for o in first.outputs if o.output_type == "stream"]
        self.assertEqual(texts, ["Installed gokernel-noted 1.0.\n"])
        self.assertEqual([o["text"] for o in second.outputs], ["1.0\n"])


if __name__ == "__main__":
    unittest.main()
