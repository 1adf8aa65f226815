"""Usher, as the runner of the public WASI test suite speaks to a runtime.

The runner loads this file as a module and asks how a case is started. A service is started by this
file too, as a program: it gives `usher serve` a folder with a manifest, because what a function may
see and reach stands in one, tells the address as the runner expects it, and passes the signal on.

The runner kills the program of a case that has failed, and may itself end before its time. So each
ends with who has started it: the runner with the chore, the program with the runner, the server
with the program.
"""

import ctypes
import enum
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

USHER = os.environ.get("USHER", "usher")
COMMAND = os.environ.get("USHER_RUN_COMMAND", "run-command")
ADDRESS = re.compile(r"http://[^\s\"]+")
# `PR_SET_PDEATHSIG`
SIGNAL_ON_PARENTS_END = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def end_with_parent(number):
    """Has the kernel send this process a signal when its parent has ended, however that was."""
    if LIBC.prctl(SIGNAL_ON_PARENTS_END, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


# The runner and the program both run this file.
end_with_parent(signal.SIGTERM)

if sys.version_info < (3, 12):
    # The runner asks whether a text is one of an enumeration's values, which older versions refuse.
    def _holds(cls, value, before=enum.EnumType.__contains__):
        return before(cls, value) if isinstance(value, enum.Enum) else value in cls._value2member_map_

    enum.EnumType.__contains__ = _holds


def get_name():
    return "usher"


def get_version():
    told = subprocess.run([USHER, "--version"], encoding="utf-8", capture_output=True, check=True)
    return told.stdout.split()[-1]


def get_wasi_versions():
    return ["wasm32-wasip3"]


def get_wasi_worlds():
    return ["wasi:cli/command", "wasi:http/service"]


def get_timeout_seconds():
    return 60.0


def compute_argv(test_path, args_env_root, proposals, wasi_world, wasi_version):
    _, env, _ = args_env_root
    if wasi_world == "wasi:cli/command":
        return [COMMAND, test_path]
    variables = [f"{name}={value}" for name, value in env.items()]
    return [sys.executable, os.path.abspath(__file__), test_path, *variables]


def manifest(name, variables):
    """A manifest that gives the function its variables, and lets it reach the servers in them."""
    addresses = [value for key, value in variables if key.startswith("HTTP_SERVER_")]
    lines = [f'name = "{name}"', f'component = "{name}.wasm"']
    lines.append("outbound = [" + ", ".join(f'"http://{it}"' for it in addresses) + "]")
    if variables:
        lines.append("[env]")
        lines.extend(f'{key} = "{value}"' for key, value in variables)
    return "\n".join(lines) + "\n"


def serve(component, variables):
    name = os.path.splitext(os.path.basename(component))[0]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(component, os.path.join(folder, f"{name}.wasm"))
        with open(os.path.join(folder, "function.toml"), "w", encoding="utf-8") as file:
            file.write(manifest(name, variables))
        argv = [USHER, "serve", folder, "--listen", "127.0.0.1:0"]
        program = os.getpid()

        def prepare():
            end_with_parent(signal.SIGINT)
            # Whoever ended before that tells nobody.
            if os.getppid() != program:
                os._exit(1)

        # A group of its own, so that only what is passed on reaches it.
        child = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=prepare,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: child.send_signal(signal.SIGINT))
        said = []

        def pass_on():
            for line in child.stderr:
                said.append(line)

        teller = threading.Thread(target=pass_on, daemon=True)
        teller.start()
        for line in child.stdout:
            found = ADDRESS.search(line)
            if found:
                print(f"Serving HTTP on {found.group()}", file=sys.stderr, flush=True)
                break
        status = child.wait()
        teller.join()
        sys.stderr.write("".join(said))
        return status


if __name__ == "__main__" and sys.argv[1:] != ["--version"]:
    sys.exit(serve(sys.argv[1], [tuple(it.split("=", 1)) for it in sys.argv[2:]]))
