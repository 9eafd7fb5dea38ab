"""bench/evaluate as a module: it has no .py in its name."""

import importlib.machinery
import importlib.util
import os

_PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench", "evaluate")
_loader = importlib.machinery.SourceFileLoader("evaluate", _PATH)
_spec = importlib.util.spec_from_loader("evaluate", _loader)
evaluate = importlib.util.module_from_spec(_spec)
_loader.exec_module(evaluate)
