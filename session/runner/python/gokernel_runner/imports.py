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
        if spec is None:
            return importlib.machinery.ModuleSpec(name, _StandIn(_comm_package), is_package=True)
        execute = getattr(spec.loader, "exec_module", None)
        if execute is None:
            return None

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            module.create_comm = Comm  # type: ignore[attr-defined]
            module.get_comm_manager = lambda: Comm.manager  # type: ignore[attr-defined]

        spec.loader.exec_module = exec_module  # type: ignore[union-attr]
        return spec

    def _ipykernel_comm(self, name: str) -> Any:
        return importlib.machinery.ModuleSpec(name, _StandIn(_ipykernel_package), is_package=True)


class _StandIn:
    """Loads a package that consists of our comms."""

    def __init__(self, fill: Callable[[types.ModuleType], None]) -> None:
        self._fill = fill

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        self._fill(module)


def _comm_package(module: types.ModuleType) -> None:
    """Be the comm package where it is not installed."""
    _give(module, create_comm=Comm, get_comm_manager=lambda: Comm.manager)
    _part(module, "base_comm", BaseComm=Comm, CommManager=Comms)


def _ipykernel_package(module: types.ModuleType) -> None:
    """Be ipykernel.comm, with our comms instead of those over ZeroMQ."""
    _give(module, Comm=Comm, CommManager=Comms)
    _part(module, "comm", Comm=Comm)
    _part(module, "manager", CommManager=Comms)


def _part(package: types.ModuleType, name: str, **names: Any) -> None:
    """Give package a module."""
    module = types.ModuleType("%s.%s" % (package.__name__, name))
    _give(module, **names)
    sys.modules[module.__name__] = module
    setattr(package, name, module)


def _give(module: types.ModuleType, **names: Any) -> None:
    module.__dict__.update(names, __all__=list(names))


def install() -> None:
    """Act on imports from now on."""
    sys.meta_path.insert(0, Hook())  # type: ignore[arg-type]
