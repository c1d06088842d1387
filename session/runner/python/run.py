"""Start of the Python runner: see docs/runner.md."""

from gokernel_runner.main import main

if __name__ == "__main__":
    main()
