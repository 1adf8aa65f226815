"""Has CPython load the shim, and then what it would have loaded by this name without it."""

import sys


def _withdraw():
    """Takes our folder out of where modules are looked for, and out of children's environment."""
    from os import environ, pathsep
    from os.path import dirname

    folder = dirname(__file__)
    ours, *rest = environ.get("PYTHONPATH", "").split(pathsep)
    if ours == folder:
        if rest:
            environ["PYTHONPATH"] = pathsep.join(rest)
        else:
            del environ["PYTHONPATH"]
    sys.path[:] = [place for place in sys.path if place != folder]


def _chain():
    """Loads the `sitecustomize` that this one hides, if there is one."""
    # What `import` itself is made of, and nothing more is loaded for it.
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    spec = PathFinder.find_spec("sitecustomize")
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


try:
    import usher_restored

    usher_restored.begin()
except Exception:
    # No hello is said then, and the program is not reused: it must not fail because of us.
    pass
_withdraw()
_chain()
