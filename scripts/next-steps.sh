#!/usr/bin/env bash
# Says what to do after "make run": scripts/next-steps.sh BINARY NOTEBOOK
set -euo pipefail
cat <<TEXT

The notebook with its outputs is $2. Next:

  $1 install
      adds the kernel "gokernel" to your Jupyter: choose it in JupyterLab, VS Code or "jupyter console --kernel gokernel"
  $1 run FILE.ipynb -o OUT.ipynb
      runs a notebook of your own
  $1 sessions list
      shows the sessions that are alive
  $1 doctor
      says what this machine offers and lacks
TEXT
