"""Parts that IPython is set up with, as its users know it from ipykernel."""

import sys
from typing import Any, Dict, List, Optional

from . import request as requests
from .shell import text

from IPython.core import page, payloadpage
from IPython.core.autocall import ZMQExitAutocall
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell, InteractiveShellABC
from traitlets import Any as AnyTrait
from traitlets import CBool, Instance, Type, default


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
        if content.get("data"):
            self.shell.runner.output.message(requests.current(), "execute_result", content)


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
        kind = "update_display_data" if update else "display_data"
        self._send(kind, content, options.get("buffers"))

    def clear_output(self, wait: bool = False) -> None:
        self._send("clear_output", {"wait": bool(wait)})

    def register_hook(self, hook: Any) -> None:
        """Let hook see each message of this thread before it goes out; one that
        returns None keeps it, as ipykernel has it."""
        self._hooks().append(hook)

    def unregister_hook(self, hook: Any) -> bool:
        """Take a hook back and tell whether it was there."""
        try:
            self._hooks().remove(hook)
            return True
        except ValueError:
            return False

    def _hooks(self) -> List[Any]:
        return self.__dict__.setdefault("_runner_hooks", [])

    def _send(self, kind: str, content: Dict[str, Any], buffers: Any = None) -> None:
        message: Any = {"msg_type": kind, "header": {"msg_type": kind}, "content": content}
        for hook in list(self._hooks()):
            message = hook(message)
            if message is None:
                return
        self.shell.runner.output.message(
            requests.current(), kind, message["content"], None, buffers
        )


class ZMQInteractiveShell(InteractiveShell):
    """An InteractiveShell whose output goes to the agent. Libraries look at its
    name to find out whether they run in a notebook."""

    displayhook_class = Type(RunnerDisplayHook)
    display_pub_class = Type(RunnerDisplayPublisher)
    # The runner's Kernel, and what looks like ipykernel's to its users.
    runner = AnyTrait()
    kernel = AnyTrait()
    # The fields of the error message that was last shown.
    last_error = AnyTrait()
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

    @property
    def parent_header(self) -> Dict[str, Any]:
        """The header of the request that runs, as far as it is known here."""
        return self.get_parent()["header"]

    def get_parent(self) -> Dict[str, Any]:
        """Return the request that runs, in the form of ipykernel."""
        return requests.as_message(requests.current())

    def set_parent(self, parent: Any) -> None:
        """Accepted for ipykernel's users: the runner knows what belongs to what."""

    def init_environment(self) -> None:
        """main.environment has done it."""

    def init_hooks(self) -> None:
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(payloadpage.page), 99)

    def init_virtualenv(self) -> None:
        """The interpreter was chosen by the kernel spec."""

    def init_magics(self) -> None:
        super().init_magics()
        from .ipython_magics import RunnerMagics

        self.register_magics(RunnerMagics)
        self.magics_manager.register_alias("ed", "edit")

    def ask_exit(self) -> None:
        self.exit_now = not self.keepkernel_on_exit
        if self.exit_now:
            self.runner.exit_code = 0
        self.payload_manager.write_payload(
            {"source": "ask_exit", "keepkernel": self.keepkernel_on_exit}
        )

    def set_next_input(self, text: str, replace: bool = False) -> None:
        self.payload_manager.write_payload(
            {"source": "set_next_input", "text": text, "replace": replace}
        )

    def enable_gui(self, gui: Any = None) -> None:
        """Only event loops that need no screen, as there is none in a session."""
        if gui not in (None, "", "inline", "agg", "asyncio"):
            raise UsageError(
                "There is no %r event loop in a session: it has no screen."
                " Use %%matplotlib inline." % gui
            )

    def system_piped(self, cmd: str) -> None:
        if cmd.rstrip().endswith("&"):
            raise OSError("Background processes not supported.")
        from . import command

        code = command.run(self.var_expand(cmd, depth=1))
        self.user_ns["_exit_code"] = code

    system = system_piped

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> Any:
        interrupts = self.runner.interrupts
        if exc_tuple is None and interrupts.cancelled:
            etype, _, tb = sys.exc_info()
            if etype is not None and etype.__name__ == "CancelledError":
                exc_tuple = (KeyboardInterrupt, KeyboardInterrupt(), tb)
        return super().showtraceback(exc_tuple, *args, **kwargs)

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        lines = [stb] if isinstance(stb, str) else list(stb)
        error = {"ename": etype.__name__, "evalue": text(evalue), "traceback": lines}
        self.last_error = error
        self._last_traceback = lines
        self.runner.output.message(requests.current(), "error", error)


InteractiveShellABC.register(ZMQInteractiveShell)
