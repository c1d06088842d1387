"""What happens when code imports modules that want a kernel."""

import importlib.machinery
import importlib.util
import sys
import types
from typing import Any, Callable, Dict

from .comms import Comm, Comms


class Hook:
    """A finder that acts on a few names and knows no others."""

    def __init__(self) -> None:
        self._actions: Dict[str, Callable[[str], Any]] = {
            "comm": self._comm,
            "ipykernel.comm": self._ipykernel_comm,
        }

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return a spec for the names of this module's business."""
        action = self._actions.pop(name, None)
        if action is None:
            return None
        try:
            return action(name)
        finally:
            self._actions[name] = action

    def _comm(self, name: str) -> Any:
        spec = importlib.util.find_spec(name)
        execute = getattr(getattr(spec, "loader", None), "exec_module", None)
        if spec is None or execute is None:
            return None

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            module.create_comm = Comm  # type: ignore[attr-defined]
            module.get_comm_manager = lambda: Comm.manager  # type: ignore[attr-defined]

        spec.loader.exec_module = exec_module  # type: ignore[union-attr]
        return spec

    def _ipykernel_comm(self, name: str) -> Any:
        return importlib.machinery.ModuleSpec(name, _IPyKernelComm(), is_package=True)


class _IPyKernelComm:
    """Loads ipykernel.comm with our comms instead of those over ZeroMQ."""

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        module.Comm = Comm
        module.CommManager = Comms
        module.__all__ = ["Comm", "CommManager"]
        for part, names in (("comm", ("Comm",)), ("manager", ("CommManager",))):
            full = "%s.%s" % (module.__name__, part)
            inner = types.ModuleType(full)
            for n in names:
                setattr(inner, n, getattr(module, n))
            sys.modules[full] = inner
            setattr(module, part, inner)


def install() -> None:
    """Act on imports from now on."""
    sys.meta_path.insert(0, Hook())  # type: ignore[arg-type]
