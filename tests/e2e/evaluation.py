"""bench/trec.py, and bench/evaluate as a module: it has no .py in its name."""

import importlib.machinery
import importlib.util
import os
import sys

_BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench")
sys.path.append(_BENCH)

import trec  # noqa: E402 F401: found there

_loader = importlib.machinery.SourceFileLoader("evaluate", os.path.join(_BENCH, "evaluate"))
_spec = importlib.util.spec_from_loader("evaluate", _loader)
evaluate = importlib.util.module_from_spec(_spec)
_loader.exec_module(evaluate)
