/* The native part of the shims: seeds anew what neither Python nor JavaScript reaches, which is the
 * generator of each OpenSSL in the process; and for Node also all that talks to the platform.
 *
 *   Node     start ─► thread: read ─► usher_add ─► entropy and generation for JavaScript ─► answer
 *   CPython  usher_prepare, usher_add, by way of ctypes, from a thread of its own
 *
 * OpenSSL's generators form a tree: what is added at its root reaches each thread's own generator
 * before that gives out another byte. A library that has a generator of its own which cannot be
 * reached is found by what is written in it, and then the answer is that not all is fresh.
 *
 * Deliberately absent: Node's headers. What is called of its stable interface is declared here, and
 * is not there in other programs, which do not call it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

enum {
    ENTROPY_BYTES = 48,
    OBJECTS_MAX = 1024,
    GENERATORS_MAX = 16,
    STACK_BYTES = 128 * 1024,
};

/* What is written in libraries that hold a generator of random numbers. */
static const char *const MARKS[] = {
    "SP 800-90A DRBG", "BoringSSL", "AWS-LC", "LibreSSL", "This is Libgcrypt", "gnutls_rnd",
    "mbedtls_ctr_drbg", "rand_chacha-",
};

typedef void (*add_function)(const void *, int, double);
typedef const char *(*version_function)(int);

static add_function generators[GENERATORS_MAX];
static int generator_count;

/* What is loaded into the process. */
struct objects {
    struct {
        const char *name;
        uintptr_t base;
        const ElfW(Phdr) *parts;
        int part_count;
    } all[OBJECTS_MAX];
    int count;
    bool too_many;
};

static bool marked(uintptr_t base, const ElfW(Phdr) *parts, int count) {
    for (const ElfW(Phdr) *part = parts; part < parts + count; part++) {
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_R) || (part->p_flags & PF_W))
            continue;
        const void *from = (const void *)(base + part->p_vaddr);
        for (size_t mark = 0; mark < sizeof MARKS / sizeof *MARKS; mark++)
            if (memmem(from, part->p_filesz, MARKS[mark], strlen(MARKS[mark])))
                return true;
    }
    return false;
}

static bool is_own(const struct dl_phdr_info *about) {
    Dl_info own;
    return dladdr((void *)generators, &own) && (uintptr_t)own.dli_fbase == about->dlpi_addr;
}

static int collect(struct dl_phdr_info *about, size_t size, void *given) {
    struct objects *objects = given;
    (void)size;
    if (is_own(about) || strncmp(about->dlpi_name, "linux-vdso", 10) == 0)
        return 0;
    if (objects->count == OBJECTS_MAX) {
        objects->too_many = true;
        return 1;
    }
    objects->all[objects->count].name = about->dlpi_name;
    objects->all[objects->count].base = about->dlpi_addr;
    objects->all[objects->count].parts = about->dlpi_phdr;
    objects->all[objects->count++].part_count = about->dlpi_phnum;
    return 0;
}

/* A function of this very object, and not of one that it depends on. */
static void *own_symbol(void *handle, uintptr_t base, const char *name) {
    void *found = dlsym(handle, name);
    Dl_info about;
    struct link_map *map = NULL;
    if (!found || !dladdr1(found, &about, (void **)&map, RTLD_DL_LINKMAP) || !map)
        return NULL;
    return map->l_addr == base ? found : NULL;
}

/* Notes how an OpenSSL is seeded. Others have a function of this name too that does nothing. */
static bool reached(void *handle, uintptr_t base) {
    add_function add = (add_function)own_symbol(handle, base, "RAND_add");
    version_function version = (version_function)own_symbol(handle, base, "OpenSSL_version");
    if (!add || !version || strncmp(version(0), "OpenSSL ", 8) != 0)
        return false;
    if (generator_count == GENERATORS_MAX)
        return false;
    generators[generator_count++] = add;
    return true;
}

/* Looks for generators; to be called before the snapshot, as it takes some milliseconds. Returns
 * how many there are that cannot be seeded anew. The library at the path `known`, if there is one,
 * does not count: the caller reaches it in another way. */
SHOWN int usher_prepare(const char *known) {
    struct objects *objects = calloc(1, sizeof *objects);
    int unreached = 0;
    if (!objects)
        return 1;
    generator_count = 0;
    dl_iterate_phdr(collect, objects);
    unreached += objects->too_many;
    for (int i = 0; i < objects->count; i++) {
        const char *name = objects->all[i].name;
        uintptr_t base = objects->all[i].base;
        if (known && strcmp(name, known) == 0)
            continue;
        void *handle = dlopen(*name ? name : NULL, RTLD_LAZY | RTLD_NOLOAD);
        if (!(handle && reached(handle, base)))
            unreached += marked(base, objects->all[i].parts, objects->all[i].part_count);
        if (handle)
            dlclose(handle);
    }
    free(objects);
    return unreached;
}

/* Seeds all that were found. */
SHOWN void usher_add(const void *entropy, int length) {
    for (int i = 0; i < generator_count; i++)
        generators[i](entropy, length, length);
}

/* What JavaScript sees: a number that changes whenever there is other entropy, and how many threads
 * it has made besides the first one. */
static struct {
    uint32_t generation;
    uint32_t threads_made;
    uint8_t entropy[ENTROPY_BYTES];
} shared;

/* Threads that have loaded the shim, the first one included. */
static uint32_t threads_loaded;

static int hook = -1;

static bool transfer(bool write_out, void *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        char *at = (char *)bytes + done;
        ssize_t moved = write_out ? send(hook, at, length - done, MSG_NOSIGNAL)
                                  : recv(hook, at, length - done, 0);
        if (moved < 0 && errno == EINTR)
            continue;
        if (moved <= 0)
            return false;
        done += (size_t)moved;
    }
    return true;
}

static void *listen_to_the_platform(void *nothing) {
    struct {
        char head[8];
        uint64_t generation;
        uint8_t entropy[ENTROPY_BYTES];
    } told;
    bool prepared = false, all_reached = false;
    (void)nothing;
    while (transfer(false, &told, sizeof told) && memcmp(told.head, "USHER-1R", 8) == 0) {
        if (!prepared || told.generation == 0)
            all_reached = usher_prepare(NULL) == 0;
        prepared = true;
        usher_add(told.entropy, ENTROPY_BYTES);
        memcpy(shared.entropy, told.entropy, ENTROPY_BYTES);
        __atomic_add_fetch(&shared.generation, 1, __ATOMIC_SEQ_CST);
        bool all_loaded = __atomic_load_n(&shared.threads_made, __ATOMIC_SEQ_CST) <
                          __atomic_load_n(&threads_loaded, __ATOMIC_SEQ_CST);
        told.head[7] = all_reached && all_loaded ? 'A' : 'N';
        if (!transfer(true, &told, 16))
            break;
    }
    close(hook);
    return NULL;
}

/* Begins to listen at the socket, and then says hello; false if that cannot be. */
static bool begin(int socket) {
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;
    char hello[] = "USHER-1H";
    if (hook >= 0 || !dlsym(RTLD_DEFAULT, "RAND_add") ||
        fcntl(socket, F_SETFD, FD_CLOEXEC) != 0)
        return false;
    hook = socket;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    /* Signals are the program's, and are to find one of its own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool made = pthread_create(&thread, &attributes, listen_to_the_platform, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return made && transfer(true, hello, 8);
}

/* Of Node's stable interface for native parts (Node-API, version 1). */
typedef struct napi_env__ *napi_env;
typedef struct napi_value__ *napi_value;
typedef struct napi_callback_info__ *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
#define NODE __attribute__((weak)) extern int
NODE napi_create_function(napi_env, const char *, size_t, napi_callback, void *, napi_value *);
NODE napi_get_cb_info(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
NODE napi_create_external_arraybuffer(napi_env, void *, size_t, void *, void *, napi_value *);
NODE napi_set_named_property(napi_env, napi_value, const char *, napi_value);
NODE napi_get_value_int32(napi_env, napi_value, int32_t *);
NODE napi_get_boolean(napi_env, bool, napi_value *);
NODE napi_create_uint32(napi_env, uint32_t, napi_value *);

/* begin(descriptor): whether the platform is listened to from now on. */
static napi_value begin_from_js(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value argument, answer = NULL;
    int32_t descriptor;
    bool begun = napi_get_cb_info(env, info, &count, &argument, NULL, NULL) == 0 && count == 1 &&
                 napi_get_value_int32(env, argument, &descriptor) == 0 && begin(descriptor);
    napi_get_boolean(env, begun, &answer);
    return answer;
}

/* Called for each thread of Node that loads this; all of them share what is here. */
SHOWN napi_value napi_register_module_v1(napi_env env, napi_value exports) {
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    napi_value function, buffer, begun, thread;
    bool seeded = true;
    pthread_mutex_lock(&once);
    if (shared.generation == 0) {
        seeded = getrandom(shared.entropy, ENTROPY_BYTES, 0) == ENTROPY_BYTES;
        shared.generation = seeded;
    }
    uint32_t number = __atomic_fetch_add(&threads_loaded, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&once);
    if (!seeded || napi_create_function(env, "begin", 5, begin_from_js, NULL, &function) != 0 ||
        napi_create_external_arraybuffer(env, &shared, sizeof shared, NULL, NULL, &buffer) != 0 ||
        napi_get_boolean(env, hook >= 0, &begun) != 0 ||
        napi_create_uint32(env, number, &thread) != 0)
        return NULL;
    napi_set_named_property(env, exports, "begin", function);
    napi_set_named_property(env, exports, "begun", begun);
    napi_set_named_property(env, exports, "thread", thread);
    napi_set_named_property(env, exports, "shared", buffer);
    return exports;
}
