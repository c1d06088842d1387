"""Runs suites: python3 -m e2e [SUITE[.CLASS[.TEST]] ...]"""

import pkgutil
import sys
import time
import unittest

import e2e
from e2e import harness


class Result(unittest.TextTestResult):
    """Says how long each test took, and counts a missing peer as a failure under CI."""

    def startTest(self, test):
        self._began = time.monotonic()
        super().startTest(test)

    def addSuccess(self, test):
        unittest.TestResult.addSuccess(self, test)
        self.stream.writeln("ok (%.2f s)" % (time.monotonic() - self._began))
        self.stream.flush()


def main(argv):
    names = argv or sorted(
        m.name[len("test_"):] for m in pkgutil.iter_modules(e2e.__path__) if m.name.startswith("test_")
    )
    suite = unittest.defaultTestLoader.loadTestsFromNames(["e2e.test_" + n for n in names])
    print("kernel %s, suites %s" % (harness.KERNEL_NAME, ", ".join(names)), file=sys.stderr)
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(suite)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
