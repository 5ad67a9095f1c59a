"""Stand-ins for packages that verl imports but that its engine never calls, where they cannot be installed.

A GPU machine without a network has torch, transformers and what is carried there; ray alone is 236 MB. For the engine's
tests a package of NAMES that is not installed is an empty module there: every attribute is a class that does nothing.
On a machine with requirements.txt nothing is replaced.
"""

import importlib.machinery
import importlib.util
import sys
import types

NAMES = ("ray", "datasets", "pandas", "pyarrow", "scipy", "peft", "accelerate", "transfer_queue", "zmq", "PIL")


class _Nothing:
    """May be called, decorated with, subclassed and read; `ray.is_initialized()` is false as it should be."""

    def __init__(self, *args, **kwargs):
        pass

    def __init_subclass__(cls, **kwargs):
        pass

    def __call__(self, *args, **kwargs):
        return args[0] if len(args) == 1 and callable(args[0]) and not kwargs else self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing()

    def __bool__(self):
        return False

    def __or__(self, other):
        return other

    __ror__ = __or__


class _Module(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _Finder:
    """Finds the modules of the packages that are missing, and makes them empty."""

    def __init__(self, missing: set[str]):
        self.missing = missing

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.missing:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        pass


def install() -> list[str]:
    """Stand-ins for those of NAMES that are not installed; returns their names."""
    missing = [name for name in NAMES if importlib.util.find_spec(name) is None]
    sys.meta_path.append(_Finder(set(missing)))
    return missing
