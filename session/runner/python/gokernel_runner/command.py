"""Runs commands of the user: !cmd, %pip."""

import os
import subprocess
import sys
from typing import Any, List, Union



def run(command: Union[str, List[str]]) -> int:
    """Run command with its output on a terminal of its own, so that it writes
    lines when they are complete, and return its exit code; that of a signal is
    negative. A string is for the shell."""
    try:
        master, slave = os.openpty()
    except OSError:
        return subprocess.call(command, shell=isinstance(command, str), stdin=subprocess.DEVNULL)
    try:
        _plain(slave)
        child = subprocess.Popen(
            command,
            shell=isinstance(command, str),
            executable=_shell() if isinstance(command, str) else None,
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        )
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    try:
        _copy(master)
        return child.wait()
    except KeyboardInterrupt:
        # The interrupt went to the whole group: let the command end by itself.
        _give_up(child)
        raise
    finally:
        os.close(master)


def _shell() -> Any:
    shell = os.environ.get("SHELL", "")
    return shell if os.path.basename(shell) in ("bash", "zsh", "sh", "dash") else None


def _plain(slave: int) -> None:
    """Make the terminal pass everything as it is, with a common width."""
    import fcntl
    import struct
    import termios

    mode = termios.tcgetattr(slave)
    mode[1] &= ~termios.OPOST
    mode[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))


def _copy(master: int) -> None:
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:
            # Linux: the last one to have the other end open is gone.
            data = b""
        if not data:
            return
        sys.stdout.write(decoder.decode(data))


def _give_up(child: "subprocess.Popen[bytes]") -> None:
    for end in (lambda: None, child.terminate, child.kill):
        end()
        try:
            child.wait(1)
            return
        except subprocess.TimeoutExpired:
            continue
