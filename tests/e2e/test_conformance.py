"""jupyter_kernel_test, in full."""

from e2e import harness

jkt = harness.need("jupyter_kernel_test")


class Python(jkt.KernelTests):
    kernel_name = harness.KERNEL_NAME
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [
        {"text": "zi", "matches": {"zip"}},
        {"text": "isinsta", "matches": {"isinstance"}},
        {"text": "class_not_there_at_al", "matches": set()},
    ]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2", "for i in range(3):"]
    invalid_code_samples = ["import = 7q", "1 +* 2)"]
    code_generate_error = "raise ValueError('wrong')"
    code_execute_result = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
        {"code": "'abc'.upper()", "result": "'ABC'"},
    ]
    code_history_pattern = "1?2*"
    # ipykernel calls the session of its own range 0 (its own tests leave range out, too).
    supported_history_operations = ("tail", "range", "search") if harness.IS_GOKERNEL else ("tail", "search")
    code_inspect_sample = "zip"

    # What needs a display library: IPython's, or the one that the kernel has for itself.
    if not harness.IS_PLAIN:
        code_page_something = "zip?"
        code_display_data = [
            {"code": "from IPython.display import HTML, display; display(HTML('<b>x</b>'))", "mime": "text/html"},
            {"code": "from IPython.display import Math, display; display(Math('x^2'))", "mime": "text/latex"},
        ]
        code_clear_output = "from IPython.display import clear_output; clear_output()"
    else:
        code_page_something = "zip?"
        code_display_data = [
            {"code": "class H:\n  def _repr_html_(self): return '<b>x</b>'\ndisplay(H())", "mime": "text/html"},
        ]
        code_clear_output = "clear_output()"


class Welcome(harness.KernelCase):
    """Newer versions of the suite have this one, Debian's has not."""

    @harness.only_gokernel
    def test_iopub_welcome(self):
        client = harness.Client(self.kernel.info)
        self.addCleanup(client.close)
        client.wait(lambda: [m for c, m in client.log if m["msg_type"] == "iopub_welcome"], "iopub_welcome")
        welcome = next(m for c, m in client.log if m["msg_type"] == "iopub_welcome")
        self.assertEqual(welcome["parent_header"], {})
        self.assertEqual(welcome["content"], {"subscription": ""})


