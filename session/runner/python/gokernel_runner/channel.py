"""The way in: packets that the agent sends."""

import os
import select
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from . import packet
from .interrupts import Interrupts


# Packets that answer a question of a thread, and the field with its number.
_ANSWERS = {"input_reply": "prompt", "result": "call"}


class Closed(Exception):
    """The agent has closed the channel, or the session ends."""


class Channel:
    """Reads packets. The main thread serves requests from it; any thread may wait
    for an answer to a question of its own, a prompt or a call, and reads for the main
    thread meanwhile."""

    def __init__(self, fd: int, interrupts: Interrupts) -> None:
        self.fd = fd
        self._interrupts = interrupts
        self._reader = packet.Reader()
        self._main = threading.main_thread()
        self._lock = threading.Lock()
        self._inbox: Deque[packet.Packet] = deque()
        self._answers: Dict[Tuple[str, int], Optional[packet.Packet]] = {}
        self.shut = False
        # Called by a thread that has put something into the inbox.
        self.notify: Callable[[], Any] = lambda: None
        # Answers what the agent asks, on the thread that has read it.
        self.asked: Callable[[packet.Packet], Any] = lambda p: None
        self._asks: List[packet.Packet] = []

    def next(self, wait: bool = True) -> Optional[packet.Packet]:
        """Return the next packet that is no answer. Without wait, return None
        when nothing can be read at once. Raises Closed at the end of the stream."""
        while True:
            if self._inbox:
                return self._inbox.popleft()
            if not self._read(None if wait else 0) and not wait:
                return None

    def expect(self, kind: str, number: int) -> None:
        """Announce that the answer of that kind and number will be waited for."""
        self._answers[kind, number] = None

    def forget(self, kind: str, number: int) -> None:
        """Take it back: an answer that comes later is dropped."""
        self._answers.pop((kind, number), None)

    def answer(self, kind: str, number: int) -> packet.Packet:
        """Wait for the answer. Raises KeyboardInterrupt on the main thread, Closed
        when the session ends."""
        while True:
            found = self._answers[kind, number]
            if found is not None:
                return found
            if self.shut:
                raise Closed
            # Another thread may read the answer between the look at it and the wait.
            if self._read(1000 if threading.current_thread() is self._main else 20):
                self.notify()

    def _read(self, timeout: Optional[int]) -> bool:
        """Read what is there, waiting up to timeout milliseconds (None: for ever).
        Tell whether a packet for the main thread came."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        if not poll.poll(timeout):
            return False
        self._interrupts.hold()
        try:
            with self._lock:
                came = self._take(poll)
                asks, self._asks = self._asks, []
            for p in asks:
                self.asked(p)
            return came
        finally:
            self._interrupts.release()

    def _take(self, poll: Any) -> bool:
        came = False
        # Another thread may have read it meanwhile.
        while poll.poll(0):
            data = os.read(self.fd, self._reader.want)
            if not data:
                raise Closed
            self._reader.feed(data)
            while True:
                p = self._reader.next()
                if p is None:
                    break
                if p.head.get("type") in _ANSWERS:
                    self._answered(p)
                    continue
                if p.head.get("type") == "ask":
                    self._asks.append(p)
                    continue
                if p.head.get("type") == "shutdown":
                    self.shut = True
                self._inbox.append(p)
                came = True
        return came

    def _answered(self, p: packet.Packet) -> None:
        kind = p.head["type"]
        key = kind, p.head.get(_ANSWERS[kind])
        if key in self._answers:
            self._answers[key] = p
