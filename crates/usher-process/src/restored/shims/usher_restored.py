"""CPython's shim: seeds every generator of random values anew when the program was put back.

    begin   ─► a thread that waits at the hook's socket, then hello
    message ─► random.Random, numpy, OpenSSL, tempfile, uuid, then the answer

The message for generation 0 comes before the snapshot: the generators are looked for then, among
all objects, and not again after each put-back.

Deliberately absent: what asks the kernel each time (os.urandom, secrets, uuid4), and the seed of
hashes, which stays for the life of the process. Nothing is imported here that the program has not
imported, so that it starts as quickly as without.
"""

import _thread
import os
import sys

_MESSAGE_BYTES = 64
_STACK_BYTES = 256 << 10
_LIBRARY = os.path.join(os.path.dirname(os.path.dirname(__file__)), "restored.so")
_DAY_S = 86400

# Instances of random.Random that were seeded by the system, and what seeds them.
_instances = None
_seed = None
# numpy's generators that were, as they were found before the snapshot.
_bit_generators = []
_library = None
_cryptography = None
_prepared = False
# An instance was seeded that cannot be found again.
_lost = False


def begin():
    """Listens to the platform from now on, if there is one, and says so."""
    descriptor = os.environ.pop("USHER_RESTORED_FD", "")
    if not descriptor.isdecimal():
        return
    descriptor = int(descriptor)
    os.set_inheritable(descriptor, False)
    if "random" in sys.modules:
        _watch(sys.modules["random"])
    else:
        sys.meta_path.insert(0, _Finder)
    before = _thread.stack_size(_STACK_BYTES)
    _thread.start_new_thread(_listen, (descriptor,))
    _thread.stack_size(before)
    socket = _identity(descriptor)

    def leave():
        # A child must not answer in its parent's place; the number may be another's by then.
        if _identity(descriptor) == socket:
            os.close(descriptor)

    os.register_at_fork(after_in_child=leave)
    os.write(descriptor, b"USHER-1H")


def _identity(descriptor):
    try:
        about = os.fstat(descriptor)
    except OSError:
        return None
    return about.st_dev, about.st_ino


class _Finder:
    """Sees to it that `random` is watched from its first import on."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "random":
            return None
        from _frozen_importlib_external import PathFinder

        sys.meta_path.remove(_Finder)
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            # A module of the program's own may have the same name.
            if hasattr(module, "_inst") and hasattr(module, "Random"):
                _watch(module)

        spec.loader.exec_module = exec_module
        return spec


def _watch(random):
    """Notes from now on which instances the system has seeded."""
    global _instances, _seed
    from _weakrefset import WeakSet

    _instances = WeakSet()
    _seed = random.Random.seed
    setstate = random.Random.setstate
    _instances.add(random._inst)

    def seed(self, a=None, version=2):
        _seed(self, a, version)
        _note(self, _is_wished(a))

    def set_state(self, state):
        setstate(self, state)
        _note(self, True)

    seed.__doc__, set_state.__doc__ = _seed.__doc__, setstate.__doc__
    set_state.__name__ = "setstate"
    random.Random.seed, random.Random.setstate = seed, set_state
    random.seed, random.setstate = random._inst.seed, random._inst.setstate


def _note(instance, wished):
    """Whether an instance is to be seeded anew from now on."""
    global _lost
    try:
        if wished:
            _instances.discard(instance)
        else:
            _instances.add(instance)
    except TypeError:
        # A class of the program's own, whose instances cannot be referred to weakly.
        _lost = _lost or not wished


def _is_wished(seed):
    """Whether a seed asks for the same numbers again: a text or a small number, but not the time."""
    if isinstance(seed, str):
        return True
    if not isinstance(seed, (int, float)) or not abs(seed) < 1 << 31:
        return False
    from time import time

    return abs(time() - seed) > _DAY_S and seed != os.getpid()


def _listen(descriptor):
    """The thread: answers each message when all is fresh. It ends when the platform is gone."""
    try:
        import _signal

        # Signals are the program's, and are to find its own threads.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        while True:
            message = b""
            while len(message) < _MESSAGE_BYTES:
                piece = os.read(descriptor, _MESSAGE_BYTES - len(message))
                if not piece:
                    return
                message += piece
            if message[:8] != b"USHER-1R":
                return
            fresh = _freshen(message[16:], message[8:16] == bytes(8))
            answer = (b"USHER-1A" if fresh else b"USHER-1N") + message[8:16]
            os.write(descriptor, answer)
    except OSError:
        pass


def _freshen(entropy, preparing):
    """Seeds all generators; false if one of them could not be."""
    global _prepared
    try:
        if preparing or not _prepared:
            _prepared = _prepare()
        for number, instance in enumerate(list(_instances or ())):
            _seed(instance, _derived(entropy, number))
        for number, generator in enumerate(_bit_generators):
            with generator.lock:
                generator.state = type(generator)(_derived(entropy, -1 - number)).state
        _library.usher_add(entropy, len(entropy))
        if "_ssl" in sys.modules:
            sys.modules["_ssl"].RAND_add(entropy, float(len(entropy)))
        if _cryptography is not None:
            _cryptography(entropy, len(entropy), float(len(entropy)))
        if "tempfile" in sys.modules:
            sys.modules["tempfile"]._name_sequence = None
        _freshen_uuid(entropy)
        return _prepared and not _lost
    except Exception:
        return False


def _freshen_uuid(entropy):
    """The node of uuid1, where it is a random one."""
    uuid = sys.modules.get("uuid")
    node = getattr(uuid, "_node", None)
    if node is not None and node >> 40 & 1:
        uuid._node = _derived(entropy, 1 << 32) & (1 << 48) - 1 | 1 << 40


def _derived(entropy, number):
    """A seed of its own for each generator."""
    from _blake2 import blake2b

    salt = (number & (1 << 64) - 1).to_bytes(8, "little")
    return int.from_bytes(blake2b(entropy, salt=salt).digest(), "little")


def _prepare():
    """Looks for what can only be found among all that there is; false if not all can be seeded."""
    global _library
    import ctypes

    _library = ctypes.CDLL(_LIBRARY)
    _derived(b"", 0)
    _find_bit_generators()
    known = _find_cryptography()
    return _library.usher_prepare(known) == 0


def _find_cryptography():
    """The package has an OpenSSL of its own, which it lets be seeded. The path of it."""
    global _cryptography
    module = sys.modules.get("cryptography.hazmat.bindings._rust")
    try:
        library, types = module._openssl.lib, module._openssl.ffi
        version = types.string(library.OpenSSL_version(0))
        _cryptography = library.RAND_add if version.startswith(b"OpenSSL ") else None
    except AttributeError:
        _cryptography = None
    return None if _cryptography is None else os.fsencode(module.__file__)


def _find_bit_generators():
    """numpy's generators that the system has seeded, those of legacy functions among them."""
    module = sys.modules.get("numpy.random.bit_generator")
    if module is None:
        return
    from gc import get_objects

    kind = module.BitGenerator
    _bit_generators[:] = [it for it in get_objects() if isinstance(it, kind) and _is_random(it)]


def _is_random(generator):
    sequence = getattr(generator, "seed_seq", None) or getattr(generator, "_seed_seq", None)
    entropy = getattr(sequence, "entropy", None)
    if isinstance(entropy, (list, tuple)):
        return not all(_is_wished(part) for part in entropy)
    return sequence is not None and not _is_wished(entropy)
