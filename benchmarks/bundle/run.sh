#!/usr/bin/env bash
# Installs synflow-bench from the wheels beside this file into a temporary folder, checks it, and measures it.
# `run.sh --help` lists the options. PYTHON is the Python that has torch; by default python3.
set -u
here="${BASH_SOURCE[0]%/*}"
[ "$here" != "${BASH_SOURCE[0]}" ] || here=.
exec "${PYTHON:-python3}" -B "$here/benchmarks/bundle/run.py" "$@"
