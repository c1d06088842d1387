# Runs pip install with what follows the folder on the command line. The folder
# is on the path, so that what was installed there before counts; pip itself and
# all that it is made of come from the interpreter.
import os
import runpy
import sys

if sys.path and sys.path[0] == "":
    del sys.path[0]
try:
    import pip
except ImportError:
    sys.exit(97)
folder = sys.argv[1]
at = len(sys.path)
for i, entry in enumerate(sys.path):
    if entry.endswith(("site-packages", "dist-packages")):
        at = i
        break
sys.path.insert(at, folder)
version = tuple(int(n) for n in pip.__version__.split(".")[:2] if n.isdigit())
bar = "raw" if version >= (24, 1) else "off"
# It is not this environment that is changed.
os.environ["PIP_REQUIRE_VIRTUALENV"] = "0"
sys.argv = ["pip", "install", "--progress-bar", bar, *sys.argv[2:]]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
