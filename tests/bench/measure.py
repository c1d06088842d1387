"""What is measured. Each function measures one kernel once and returns numbers by name."""

import json
import os
import time
import uuid

from e2e.harness import Kernel as Started, in_threads

from bench.client import Client

LINES = 200_000
WRITE = 50 << 20
DISPLAYS = 1_000
MANY = 20


class Kernel:
    """A kernel under measurement, and all processes that are its own."""

    def __init__(self, name):
        self.mark = "GOKERNEL_BENCH=%s" % uuid.uuid4().hex
        env = dict(os.environ)
        env.update([self.mark.split("=")])
        self.started = Started(name, env=env)
        self.client = Client(self.started.info)

    def close(self):
        self.client.close()
        self.started.stop()

    def memory(self):
        """Private bytes (USS) and processes of the kernel: all that have its mark."""
        total, processes = 0, 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as f:
                    if self.mark.encode() not in f.read().split(b"\0"):
                        continue
                with open("/proc/%s/smaps_rollup" % pid) as f:
                    total += sum(int(line.split()[1]) for line in f if line.startswith("Private_")) * 1024
                processes += 1
            except (OSError, ValueError):
                continue  # it has ended meanwhile
        return total, processes


def timed(f):
    began = time.perf_counter()
    f()
    return time.perf_counter() - began


def cold(name):
    """From nothing to the first result."""
    kernel = None

    def first():
        nonlocal kernel
        kernel = Kernel(name)
        kernel.client.ready()
        kernel.client.run("1")

    try:
        return {"cold start to first result": timed(first)}
    finally:
        if kernel:
            kernel.close()


def latencies(kernel, n=200):
    client = kernel.client
    for _ in range(20):  # a kernel runs all day; what is loaded on the first use is another question
        client.run("some_long_name = 1")
    return {
        "1 until reply and idle": [timed(lambda: client.run("1")) for _ in range(n)],
        "kernel_info": [
            timed(lambda: client.finish(client.send("shell", "kernel_info_request", {}))) for _ in range(n)
        ],
    }


def completion(kernel, n=15):
    client = kernel.client
    client.run("some_long_name = 1")

    def complete():
        reply = client.finish(client.send("shell", "complete_request", {"code": "some_lo", "cursor_pos": 7}))
        if "some_long_name" not in reply["matches"]:
            raise RuntimeError("the name was not completed: %s" % reply)

    complete()  # what is loaded on the first use is another question
    return {"completion of a name": [timed(complete) for _ in range(n)]}


def lines(kernel):
    pieces = []

    def on_output(msg_type, content):
        if msg_type == "stream":
            pieces.append(content)

    took = timed(lambda: kernel.client.run("for i in range(%d): print(i)" % LINES, on_output=on_output))
    got = "".join(json.loads(p)["text"] for p in pieces).split()
    if got != [str(i) for i in range(LINES)]:
        raise RuntimeError("of %d lines %d came, or in another order" % (LINES, len(got)))
    return {"200,000 printed lines": took, "messages for 200,000 lines": len(pieces)}


def write(kernel):
    size = 0

    def on_output(msg_type, content):
        nonlocal size
        if msg_type == "stream":
            size += len(json.loads(content)["text"])

    took = timed(lambda: kernel.client.run("import sys; _ = sys.stdout.write('x' * %d)" % WRITE, on_output=on_output))
    if size != WRITE:
        raise RuntimeError("of %d characters %d came" % (WRITE, size))
    return {"one write of 50 MiB": took}


def displays(kernel):
    seen = 0

    def on_output(msg_type, content):
        nonlocal seen
        seen += msg_type == "display_data"

    took = timed(lambda: kernel.client.run("for i in range(%d): display(i)" % DISPLAYS, on_output=on_output))
    if seen != DISPLAYS:
        raise RuntimeError("of %d displays %d came" % (DISPLAYS, seen))
    return {"1,000 displays": took}


def first_output(kernel, code, n):
    """From the request to the first text, while the cell goes on; and from the interrupt to its end."""
    client = kernel.client
    shown, interrupted = [], []
    for _ in range(n):
        began = time.perf_counter()
        msg_id = client.execute(code)
        for channel, header, parent, _ in client.messages(time.monotonic() + 30):
            if channel == "iopub" and msg_id in parent and b'"stream"' in header:
                break
        shown.append(time.perf_counter() - began)
        began = time.perf_counter()
        kernel.started.manager.interrupt_kernel()
        reply = client.finish(msg_id)
        if reply.get("ename") != "KeyboardInterrupt":
            raise RuntimeError("interrupted, but %s" % reply)
        interrupted.append(time.perf_counter() - began)
    return shown, interrupted


def running(kernel, n=4):
    busy, interrupted = first_output(kernel, "print('seen')\nwhile True: pass", n)
    asleep, _ = first_output(kernel, "import time\nprint('seen')\ntime.sleep(60)", n)
    return {
        "print seen while the cell computes": busy,
        "print seen while the cell sleeps": asleep,
        "interrupt of a loop": interrupted,
    }


def memory(kernel):
    kernel.client.run("1")
    size, processes = kernel.memory()
    return {"private memory, idle": size, "processes": processes}


def many(name):
    """Twenty at once, until all have executed."""
    kernels = []

    def one():
        kernel = Kernel(name)
        kernels.append(kernel)
        kernel.client.ready()
        kernel.client.run("1")

    try:
        took = timed(lambda: in_threads([one] * MANY))
        size = sum(k.memory()[0] for k in kernels)
    finally:
        in_threads([k.close for k in kernels])
    return {"20 kernels at once": took, "private memory of 20 kernels": size}
