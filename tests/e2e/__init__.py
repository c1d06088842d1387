"""Real Jupyter clients against a kernel.

Every suite is a module test_NAME and runs against the kernel that KERNEL_NAME
names (default: python3, that is ipykernel). See harness.py for the environment.
"""
