"""The Python runner of gokernel.

It evaluates code for an agent, to which it talks over descriptor 3; the
contract is docs/runner.md. Only the standard library is needed. IPython is
used when the interpreter has it.

Modules, from the bottom up: packet (bytes), request (whose output), interrupts,
output (the one way out), pipes (descriptors 1 and 2), streams (sys.stdout),
channel (the way in), stdin (input()), kernel (requests), and the two shells.
"""
