"""A hostile program in Python on $PORT: what one run can leave to the next, a channel for each way.

    /plant/CHANNEL?secret=HEX   leaves the secret there, or says what denied it
    /look/CHANNEL               tells whether a program that runs now sees anything
    /random/SOURCE              a value of a generator, all of which were used once before any request
    /answer                     checks that the program still works

One thread, and nothing but the standard library.
"""

import builtins
import ctypes
import errno
import faulthandler
import functools
import gc
import http.server
import json
import mmap
import os
import random
import resource
import secrets
import signal
import socket
import socketserver
import ssl
import sys
import tempfile
import threading
import types
import urllib.parse
import uuid
import weakref

FIRST_NEW_DESCRIPTOR = 50
SCRATCH = "/tmp"
FILE = f"{SCRATCH}/left"

calls = 0
variable = None
mapping = {}
cycle = None


def closure():
    inside = []
    return inside.append, lambda: inside[-1] if inside else None


leave_closed, see_closed = closure()
local = threading.local()
reader, writer = socket.socketpair()
reader.setblocking(False)
pipe_reader, pipe_writer = os.pipe()
os.set_blocking(pipe_reader, False)
opened = open(f"{SCRATCH}/opened-before", "w+b", buffering=0)


@functools.lru_cache
def cached(_):
    return mapping.pop("cached", None)


class Garbage:
    def __init__(self, secret):
        self.secret = secret
        self.itself = self


def leave_variable(secret):
    global variable
    variable = secret


def leave_cached(secret):
    mapping["cached"] = secret
    cached.cache_clear()
    cached(0)


def see_cached():
    found = cached(0)
    if found is None:
        cached.cache_clear()
    return found


def leave_module(secret):
    sys.modules["left_behind"] = types.ModuleType("left_behind", secret)


def leave_garbage(secret):
    gc.disable()
    Garbage(secret)


def see_garbage():
    found = [thing.secret for thing in gc.get_objects() if isinstance(thing, Garbage)]
    return found[0] if found else ("collector is off" if not gc.isenabled() else None)


def leave_interned(secret):
    # The name of an attribute is kept in one table for all strings; a memory of its own keeps it there.
    variable_names.append(sys.intern(secret))


variable_names = []


def leave_file(secret):
    with open(FILE, "w") as file:
        file.write(secret)


def see_file():
    try:
        with open(FILE) as file:
            return file.read()
    except FileNotFoundError:
        return None


def see_socket():
    try:
        return reader.recv(64).decode()
    except BlockingIOError:
        return None


def see_pipe():
    try:
        return os.read(pipe_reader, 64).decode()
    except BlockingIOError:
        return None


def see_opened():
    return os.pread(opened.fileno(), 64, 0).decode()


def leave_open(secret):
    opened.seek(0)
    opened.write(secret.encode())


def leave_thread(secret):
    threading.Thread(target=threading.Event().wait, name=secret, daemon=True).start()


# The platform's own, if any.
THREADS = len(os.listdir("/proc/self/task"))


def see_thread():
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    more = len(os.listdir("/proc/self/task")) - THREADS
    return names[0] if names else (f"{more} threads more" if more > 0 else None)


def leave_timer(secret):
    threading.Timer(1_000, print, [secret]).start()


def leave_child(_):
    # Not to be waited for, nor to be noticed by this program.
    if os.fork() == 0:
        while True:
            signal.pause()


def see_child():
    try:
        return f"child {os.waitpid(-1, os.WNOHANG)}"
    except ChildProcessError:
        return None


def leave_handler(secret):
    signal.signal(signal.SIGUSR1, lambda number, frame: secret)


def see_handler():
    handler = signal.getsignal(signal.SIGUSR1)
    return None if handler is signal.SIG_DFL else str(handler)


def see_interval():
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    return f"{left} s" if left else None


def see_umask():
    mask = os.umask(0o022)
    os.umask(mask)
    return None if mask == 0o022 else oct(mask)


def leave_descriptor(_):
    os.dup2(os.open("/dev/null", os.O_RDONLY), FIRST_NEW_DESCRIPTOR)


def see_descriptor():
    new = [name for name in os.listdir("/proc/self/fd") if int(name) >= FIRST_NEW_DESCRIPTOR]
    return new[0] if new else None


def leave_recursion(_):
    sys.setrecursionlimit(4_321)


def leave_profile(secret):
    sys.setprofile(lambda frame, event, argument: None)


def leave_path(secret):
    sys.path.insert(0, f"{SCRATCH}/{secret}")


def leave_exception(secret):
    sys.excepthook = lambda *told: print(secret)


def suspended():
    kept = yield
    while True:
        kept = (yield kept) or kept


generator = suspended()
next(generator)


def leave_eventfd(_):
    os.eventfd_write(event, 7)


def see_eventfd():
    try:
        return f"{os.eventfd_read(event)} in an event"
    except BlockingIOError:
        return None


event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
pages = mmap.mmap(-1, 4 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def leave_pages(secret):
    pages[mmap.PAGESIZE : mmap.PAGESIZE + len(secret)] = secret.encode()


def see_pages():
    return pages[mmap.PAGESIZE : mmap.PAGESIZE + 64].rstrip(b"\0").decode()


def leave_mapped(secret):
    # Shared, and of a file in memory without a name.
    file = os.memfd_create("left")
    os.ftruncate(file, mmap.PAGESIZE)
    mapped.append(mmap.mmap(file, mmap.PAGESIZE))
    mapped[0][: len(secret)] = secret.encode()
    os.close(file)


mapped = []


def leave_temporary(secret):
    with tempfile.NamedTemporaryFile(dir=SCRATCH, prefix="kept-", delete=False) as file:
        file.write(secret.encode())


def see_temporary():
    kept = [name for name in os.listdir(SCRATCH) if name.startswith("kept-")]
    return kept[0] if kept else None


def leave_shared(secret):
    # As multiprocessing does it, without its process that cleans up.
    with open("/dev/shm/left", "w") as file:
        file.write(secret)


def see_shared():
    return next(iter(os.listdir("/dev/shm")), None)


def leave_limit(_):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (123, hard))


def see_limit():
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == FILES else f"{soft} files"


FILES, _ = resource.getrlimit(resource.RLIMIT_NOFILE)


def leave_pending(_):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    os.kill(os.getpid(), signal.SIGUSR2)


def see_pending():
    return next(iter(signal.sigpending()), None)


def leave_blocked(_):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN + 3])


def see_blocked():
    return next(iter(signal.pthread_sigmask(signal.SIG_BLOCK, [])), None)


def see_alternate_stack():
    return "a stack for signals" if faulthandler.is_enabled() else None


def leave_nice(_):
    os.nice(5)


def see_nice():
    now = os.getpriority(os.PRIO_PROCESS, 0)
    return None if now == NICE else f"nice {now}"


NICE = os.getpriority(os.PRIO_PROCESS, 0)


def leave_name(secret):
    ctypes.CDLL(None).prctl(15, secret[:15].encode(), 0, 0, 0)


def see_name():
    with open("/proc/self/comm") as file:
        name = file.read()
    return None if name == NAME else name


with open("/proc/self/comm") as comm:
    NAME = comm.read()


def leave_own_code(secret):
    # Around the protection of its pages.
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(PLACE)
        memory.write(secret.encode())


def see_own_code():
    return None if ctypes.string_at(PLACE, 32) == CODE else "other code"


# A function that nobody calls.
PLACE = ctypes.cast(ctypes.pythonapi.PyErr_WarnExplicitFormat, ctypes.c_void_p).value
CODE = ctypes.string_at(PLACE, 32)


def leave_small_number(secret):
    # CPython shares its small numbers: one whose value is changed is changed for all.
    address = id(251)
    ctypes.c_uint32.from_address(address + 24).value = 250


def see_small_number():
    return None if str(int("251")) == "251" else "251 is another number"


CHANNELS = {
    "global": (leave_variable, lambda: variable),
    "mapping": (lambda secret: mapping.update(kept=secret), lambda: mapping.get("kept")),
    "closure": (leave_closed, see_closed),
    "cache": (leave_cached, see_cached),
    "thread-local": (lambda secret: setattr(local, "kept", secret), lambda: getattr(local, "kept", None)),
    "builtins": (
        lambda secret: setattr(builtins, "left_behind", secret),
        lambda: getattr(builtins, "left_behind", None),
    ),
    "class": (
        lambda secret: setattr(Garbage, "left_behind", secret),
        lambda: getattr(Garbage, "left_behind", None),
    ),
    "modules": (leave_module, lambda: getattr(sys.modules.get("left_behind"), "__doc__", None)),
    "module-attribute": (
        lambda secret: setattr(json, "left_behind", secret),
        lambda: getattr(json, "left_behind", None),
    ),
    "default-argument": (
        lambda secret: setattr(see_file, "__defaults__", (secret,)),
        lambda: (see_file.__defaults__ or (None,))[0],
    ),
    "garbage": (leave_garbage, see_garbage),
    "interned": (leave_interned, lambda: variable_names[0] if variable_names else None),
    "environ": (lambda secret: os.environ.update(LEFT=secret), lambda: os.environ.get("LEFT")),
    "file": (leave_file, see_file),
    "opened-file": (leave_open, see_opened),
    "cwd": (lambda _: os.chdir("/tmp"), lambda: None if os.getcwd() == "/var/task" else os.getcwd()),
    "umask": (lambda _: os.umask(0o077), see_umask),
    "thread": (leave_thread, see_thread),
    "timer": (leave_timer, see_thread),
    "child": (leave_child, see_child),
    "socketpair": (lambda secret: writer.send(secret.encode()), see_socket),
    "pipe": (lambda secret: os.write(pipe_writer, secret.encode()), see_pipe),
    "handler": (leave_handler, see_handler),
    "itimer": (lambda _: signal.setitimer(signal.ITIMER_REAL, 1_000), see_interval),
    "descriptor": (leave_descriptor, see_descriptor),
    "recursion-limit": (leave_recursion, lambda: None if sys.getrecursionlimit() == 1_000 else "another limit"),
    "profile": (leave_profile, lambda: None if sys.getprofile() is None else "a profiler"),
    "sys-path": (leave_path, lambda: sys.path[0] if sys.path[0].startswith(SCRATCH) else None),
    "except-hook": (leave_exception, lambda: None if sys.excepthook is sys.__excepthook__ else "another hook"),
    "small-number": (leave_small_number, see_small_number),
    "generator": (generator.send, lambda: generator.send(None)),
    "eventfd": (leave_eventfd, see_eventfd),
    "private-pages": (leave_pages, see_pages),
    "mapped-file": (leave_mapped, lambda: mapped[0][:32].decode() if mapped else None),
    "temporary-file": (leave_temporary, see_temporary),
    "shared-memory": (leave_shared, see_shared),
    "limit": (leave_limit, see_limit),
    "pending": (leave_pending, see_pending),
    "blocked": (leave_blocked, see_blocked),
    "alternate-stack": (lambda _: faulthandler.enable(), see_alternate_stack),
    "nice": (leave_nice, see_nice),
    "name": (leave_name, see_name),
    "own-code": (leave_own_code, see_own_code),
}

# Each of them is used once here: a snapshot then holds a generator that was seeded.
SOURCES = {
    "random": lambda: random.getrandbits(128),
    "random-instance": lambda: instance.getrandbits(128),
    "float": lambda: random.random(),
    "ssl": lambda: ssl.RAND_bytes(16).hex(),
    "uuid4": lambda: uuid.uuid4().hex,
    "uuid1": lambda: uuid.uuid1().hex,
    "secrets": lambda: secrets.token_hex(16),
    "system-random": lambda: random.SystemRandom().getrandbits(128),
    "urandom": lambda: os.urandom(16).hex(),
    "getrandom": lambda: os.getrandom(16).hex(),
    "tempfile": lambda: next(tempfile._get_candidate_names()),
    "shuffle": lambda: random.sample(range(1 << 60), 3),
    # The control: what it answers repeats from run to run, whatever the platform does.
    "seeded": lambda: random.Random(0).getrandbits(128),
}
instance = random.Random()
for source in SOURCES.values():
    source()


def works():
    with tempfile.TemporaryFile() as file:
        file.write(b"works")
        file.seek(0)
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        return "works" if file.read() == b"works" and sum(range(1_000)) == 499_500 else "broken"


def plant(name, query):
    try:
        CHANNELS[name][0](query["secret"][0])
        return "planted"
    except OSError as error:
        return f"denied {errno.errorcode[error.errno]}"


def look(name):
    found = CHANNELS[name][1]()
    return f"found {found}" if found else "clean"


def route(path, query):
    verb, _, name = path[1:].partition("/")
    if verb == "plant":
        return plant(name, query)
    if verb == "look":
        return look(name)
    if verb == "random":
        return str(SOURCES[name]())
    if verb == "channels":
        return " ".join(CHANNELS)
    if verb == "sources":
        return " ".join(SOURCES)
    return works()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global calls
        calls += 1
        url = urllib.parse.urlsplit(self.path)
        told = route(url.path, urllib.parse.parse_qs(url.query))
        body = json.dumps({"pid": os.getpid(), "calls": calls, "told": told}).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        # One connection at a time is served: none is to be held.
        self.close_connection = True

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    # The first process of a sandbox has no default for it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    socketserver.TCPServer.allow_reuse_address = True
    http.server.HTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
