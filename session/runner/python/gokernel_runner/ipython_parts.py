"""Parts that IPython is set up with, as its users know it from ipykernel."""

import os
import sys
from typing import Any, Dict, List, Optional

from IPython.core import page, payloadpage
from IPython.core.application import BaseIPythonApplication
from IPython.core.autocall import ZMQExitAutocall
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell, InteractiveShellABC
from IPython.core.shellapp import InteractiveShellApp
from traitlets import Any as AnyTrait
from traitlets import CBool, Instance, Type, default

from . import request as requests
from .shell import text


class RunnerDisplayHook(DisplayHook):
    """Publishes the value of a cell."""

    def start_displayhook(self) -> None:
        self._content: Dict[str, Any] = {"data": {}, "metadata": {}}

    def write_output_prompt(self) -> None:
        self._content["execution_count"] = self.prompt_count

    def write_format_data(self, format_dict: Dict[str, Any], md_dict: Any = None) -> None:
        self._content["data"] = format_dict
        self._content["metadata"] = md_dict or {}

    def finish_displayhook(self) -> None:
        content, self._content = self._content, {}
        if content["data"]:
            self.shell.kernel_output.message(requests.current(), "execute_result", content)


class RunnerDisplayPublisher(DisplayPublisher):
    """Publishes displays."""

    def publish(
        self,
        data: Dict[str, Any],
        metadata: Optional[Dict[str, Any]] = None,
        source: Any = None,
        *,
        transient: Optional[Dict[str, Any]] = None,
        update: bool = False,
        **options: Any
    ) -> None:
        self._validate_data(data, metadata or {})
        content = {"data": data, "metadata": metadata or {}, "transient": transient or {}}
        type = "update_display_data" if update else "display_data"
        self.shell.kernel_output.message(requests.current(), type, content)

    def clear_output(self, wait: bool = False) -> None:
        self.shell.kernel_output.message(
            requests.current(), "clear_output", {"wait": bool(wait)}
        )


class RunnerShell(InteractiveShell):
    """An InteractiveShell whose output goes to the agent."""

    displayhook_class = Type(RunnerDisplayHook)
    display_pub_class = Type(RunnerDisplayPublisher)
    kernel_output = AnyTrait()
    last_error = AnyTrait()
    last_lines = AnyTrait()
    autoindent = CBool(False)
    exiter = Instance(ZMQExitAutocall)
    keepkernel_on_exit: Any = None

    @default("exiter")
    def _default_exiter(self) -> Any:
        return ZMQExitAutocall(self)

    @default("banner1")
    def _default_banner1(self) -> str:
        from IPython.core.usage import default_banner

        return default_banner

    def init_environment(self) -> None:
        """main.environment has done it."""

    def init_hooks(self) -> None:
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(payloadpage.page), 99)

    def init_virtualenv(self) -> None:
        """The interpreter was chosen by the kernel spec."""

    def ask_exit(self) -> None:
        self.exit_now = not self.keepkernel_on_exit
        self.payload_manager.write_payload(
            {"source": "ask_exit", "keepkernel": self.keepkernel_on_exit}
        )

    def set_next_input(self, text: str, replace: bool = False) -> None:
        self.payload_manager.write_payload(
            {"source": "set_next_input", "text": text, "replace": replace}
        )

    def _showtraceback(self, etype: Any, evalue: Any, stb: List[str]) -> None:
        error = {"ename": etype.__name__, "evalue": text(evalue), "traceback": list(stb)}
        self.last_error = error
        self.kernel_output.message(requests.current(), "error", error)


InteractiveShellABC.register(RunnerShell)


def make_shell(kernel: Any) -> RunnerShell:
    """Return a shell set up by the user's profile."""
    return RunnerShell.instance(
        kernel_output=kernel.output, user_module=kernel.user, user_ns=kernel.user.__dict__
    )
