"""jupyter_kernel_test, in full, for the JavaScript kernel."""

from e2e import harness

jkt = harness.need("jupyter_kernel_test")


class JavaScript(jkt.KernelTests):
    kernel_name = harness.KERNEL_NAME
    language_name = "javascript"
    file_extension = ".js"
    code_hello_world = "console.log('hello, world')"
    code_stderr = "console.error('test')"
    completion_samples = [
        {"text": "conso", "matches": {"console"}},
        {"text": "Math.ma", "matches": {"max"}},
        {"text": "'abc'.toUp", "matches": {"toUpperCase"}},
        {"text": "class_not_there_at_al", "matches": set()},
    ]
    complete_code_samples = ["1", "console.log('hello, world')", "function f(x) {\n  return x * 2\n}", "await 1", "import fs from 'fs'"]
    incomplete_code_samples = ["`hello", "function f(x) {\n  return x * 2", "for (const x of [1])", "f(", "/* x", "x ="]
    invalid_code_samples = ["import = 7q", "1 +* 2)", "'hello"]
    code_generate_error = "throw new RangeError('wrong')"
    code_execute_result = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[1, 2, 3].map((n) => n * n)", "result": "[ 1, 4, 9 ]"},
        {"code": "await Promise.resolve('abc')", "result": "'abc'"},
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "parseInt"
    code_display_data = [
        {"code": "display.html('<b>x</b>')", "mime": "text/html"},
        {"code": "display.markdown('*x*')", "mime": "text/markdown"},
        {"code": "display({[Symbol.for('Jupyter.display')]: () => ({'image/svg+xml': '<svg/>'})})", "mime": "image/svg+xml"},
    ]
    code_clear_output = "display.clear()"


class Cells(harness.KernelCase):
    """What a notebook's cells do, through the installed kernel."""

    def test_interrupts_keep_state(self):
        self.ok("const kept = 41")
        for code in (
            "console.log('busy'); while (true);",
            "console.log('busy'); await new Promise(() => {})",
            "await null; console.log('busy'); while (true);",
        ):
            with self.subTest(code=code):
                msg_id = self.client.start(code)
                self.client.see(msg_id, "busy")
                self.kernel.manager.interrupt_kernel()
                result = self.client.finish(msg_id)
                self.assertEqual((result.status, result.content["ename"]), ("error", "Interrupted"))
        self.assertEqual(self.ok("kept + 1").data(), "42")

    def test_output_of_a_busy_cell_is_live(self):
        msg_id = self.client.start("console.log('first'); for (const end = Date.now() + 2000; Date.now() < end;); console.log('last')")
        self.client.see(msg_id, "first")
        self.assertNotIn(msg_id, [m["parent_header"].get("msg_id") for c, m in self.client.log if c == "shell"])
        self.assertEqual(self.client.finish(msg_id).text(), "first\nlast\n")

    def test_modules(self):
        result = self.ok("import { sep } from 'node:path'; const os = await import('os'); [sep, os.EOL, require('fs') === (await import('fs')).default]")
        self.assertEqual(result.data(), "[ '/', '\\n', true ]")
