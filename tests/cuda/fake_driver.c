/* A CUDA driver on the memory of the host, for tests of what calls the driver's library: that every argument arrives,
 * and that calls come in an order that a driver accepts. Work runs at once, unless its stream is captured. It knows two
 * kernels, by their names. Memory, streams and captures are checked as a driver checks them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef uint64_t Pointer;
enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NO_IMAGE = 200, NO_CONTEXT = 201, HANDLE = 400, NOT_FOUND = 500, ILLEGAL = 700,
       CAPTURED = 900, UNSAFE = 901, NOT_CAPTURED = 903 };
enum { DEVICES = 2, NODES = 64, BLOCKS = 65536 };

typedef struct { int loaded; } Module;
typedef struct { int kind; Module *module; } Function;
typedef struct { enum { COPY, FILL, ROWS, AXPY, ROTATE } kind; Module *module; Pointer to, from; size_t n, to_pitch, from_pitch, height;
                 int byte; float alpha; int64_t count; } Node;
typedef struct { int count; Node nodes[NODES]; } Graph;
typedef struct { unsigned flags; int captured; Graph graph; } Stream;
typedef struct { Pointer start; size_t size; int device; } Block;

static Stream legacy;
static Block blocks[BLOCKS];
static int count_blocks;
static uintptr_t context;
static size_t used[DEVICES], total = 1 << 26;

static int number(const char *name, int otherwise) { return getenv(name) ? atoi(getenv(name)) : otherwise; }
static Stream *stream_of(void *s) { return s ? s : &legacy; }
static int device(void) { return (int)context - 1; }

static Block *block_of(Pointer p, size_t n) {
    for (int i = 0; i < count_blocks; i++)
        if (blocks[i].start && p >= blocks[i].start && p + n <= blocks[i].start + blocks[i].size) return &blocks[i];
    return NULL;
}

static Result run(Node *d) {
    float *to = (float *)d->to, *from = (float *)d->from;
    size_t height = d->kind == ROWS ? d->height : 1;
    if (d->module && !d->module->loaded) return HANDLE;
    for (size_t i = 0; i < height; i++) {
        if (!block_of(d->to + i * d->to_pitch, d->n)) return ILLEGAL;
        if (d->kind != FILL && !block_of(d->from + i * d->from_pitch, d->n)) return ILLEGAL;
    }
    if (d->kind == COPY) memmove(to, from, d->n);
    if (d->kind == FILL) memset(to, d->byte, d->n);
    if (d->kind == ROWS)
        for (size_t i = 0; i < height; i++)
            memcpy((char *)to + i * d->to_pitch, (char *)from + i * d->from_pitch, d->n);
    if (d->kind == AXPY)
        for (int64_t i = 0; i < d->count; i++) to[i] += d->alpha * from[i];
    if (d->kind == ROTATE)
        for (int step = 0; step < 3; step++) {
            for (int64_t i = 0; i < d->count; i++) from[i] = to[(i + 1) % d->count];
            memcpy(to, from, d->n);
        }
    return OK;
}

static Result add(Node d, void *s) {
    Stream *stream = stream_of(s);
    if (!context) return NO_CONTEXT;
    if (!stream->captured) return run(&d);
    if (stream->graph.count == NODES) return INVALID;
    stream->graph.nodes[stream->graph.count++] = d;
    return OK;
}

/* The driver's functions. cuGetProcAddress finds them with the prefix f_. */
Result f_cuInit(unsigned flags) { return number("FAKE_INIT", OK); }
Result f_cuDriverGetVersion(int *v) { *v = number("FAKE_VERSION", 99000); return OK; }
Result f_cuDeviceGetCount(int *v) { *v = DEVICES; return OK; }
Result f_cuDeviceGet(int *d, int ordinal) { *d = ordinal; return ordinal < DEVICES ? OK : 101; }
Result f_cuDeviceGetName(char *name, int n, int d) { snprintf(name, n, "Fake GPU"); return OK; }
Result f_cuDeviceGetAttribute(int *v, int key, int d) {
    switch (key) {
    case 16: *v = 132; return OK;    /* multiprocessors */
    case 39: *v = 2048; return OK;   /* threads of one */
    case 75: *v = 9; return OK;      /* compute capability */
    case 76: *v = 0; return OK;
    case 95: *v = 1; return OK;      /* cooperative launches */
    case 97: *v = 232448; return OK; /* shared memory */
    default: return INVALID;
    }
}
Result f_cuDeviceTotalMem(size_t *v, int d) { *v = total; return OK; }
Result f_cuDevicePrimaryCtxRetain(void **c, int d) { *c = (void *)(uintptr_t)(d + 1); return OK; }
Result f_cuCtxGetCurrent(void **c) { *c = (void *)context; return OK; }
Result f_cuCtxSetCurrent(void *c) { context = (uintptr_t)c; return OK; }
Result f_cuMemAlloc(Pointer *p, size_t n) {
    if (!context) return NO_CONTEXT;
    if (used[device()] + n > total || n > total || count_blocks == BLOCKS) return NO_MEMORY;
    *p = (Pointer)aligned_alloc(256, (n + 255) / 256 * 256);
    memset((void *)*p, 0xff, n);
    used[device()] += n;
    blocks[count_blocks++] = (Block){*p, n, device()};
    return OK;
}
Result f_cuMemFree(Pointer p) {
    Block *b = block_of(p, 1);
    if (!b || b->start != p || b->device != device()) return INVALID;
    used[b->device] -= b->size;
    b->start = 0;
    free((void *)p);
    return OK;
}
Result f_cuMemGetInfo(size_t *free, size_t *all) { *free = total - used[device()]; *all = total; return OK; }
Result f_cuPointerGetAttribute(void *data, int key, Pointer p) {
    Block *b = block_of(p, 1);
    if (key != 9 || !b) return INVALID;
    *(int *)data = b->device;
    return OK;
}
Result f_cuMemcpyHtoDAsync(Pointer d, void *s, size_t n, void *q) {
    if (stream_of(q)->captured) return CAPTURED;
    if (!block_of(d, n)) return ILLEGAL;
    memcpy((void *)d, s, n);
    return OK;
}
Result f_cuMemcpyDtoHAsync(void *d, Pointer s, size_t n, void *q) {
    if (stream_of(q)->captured) return CAPTURED;
    if (!block_of(s, n)) return ILLEGAL;
    memcpy(d, (void *)s, n);
    return OK;
}
Result f_cuMemcpyDtoDAsync(Pointer d, Pointer s, size_t n, void *q) {
    return add((Node){.kind = COPY, .to = d, .from = s, .n = n}, q);
}
Result f_cuMemcpyPeerAsync(Pointer d, void *to, Pointer s, void *from, size_t n, void *q) {
    Block *a = block_of(d, n), *b = block_of(s, n);
    if (!a || !b || a->device != (int)(uintptr_t)to - 1 || b->device != (int)(uintptr_t)from - 1) return INVALID;
    return add((Node){.kind = COPY, .to = d, .from = s, .n = n}, q);
}
Result f_cuMemsetD8Async(Pointer d, unsigned char byte, size_t n, void *q) {
    return add((Node){.kind = FILL, .to = d, .n = n, .byte = byte}, q);
}
typedef struct {
    size_t from_x, from_y; int from_type; void *from_host; Pointer from; void *from_array; size_t from_pitch;
    size_t to_x, to_y; int to_type; void *to_host; Pointer to; void *to_array; size_t to_pitch;
    size_t width, height;
} Rows; /* CUDA_MEMCPY2D */
Result f_cuMemcpy2DAsync(Rows *r, void *q) {
    if (r->from_type != 2 || r->to_type != 2 || r->from_x || r->from_y || r->to_x || r->to_y) return INVALID;
    if (r->from_pitch < r->width || r->to_pitch < r->width) return INVALID;
    return add((Node){.kind = ROWS, .to = r->to, .from = r->from, .n = r->width, .to_pitch = r->to_pitch,
                      .from_pitch = r->from_pitch, .height = r->height}, q);
}
Result f_cuStreamCreate(void **s, unsigned flags) {
    Stream *stream = calloc(1, sizeof(Stream));
    stream->flags = flags;
    *s = stream;
    return context ? OK : NO_CONTEXT;
}
Result f_cuStreamSynchronize(void *s) { return stream_of(s)->captured ? CAPTURED : OK; }
Result f_cuStreamDestroy(void *s) { free(s); return s ? OK : INVALID; }
Result f_cuStreamWaitEvent(void *s, void *event, unsigned flags) { return event && !flags ? OK : INVALID; }
Result f_cuEventCreate(void **event, unsigned flags) { *event = malloc(1); return OK; }
Result f_cuEventRecord(void *event, void *s) { return event ? OK : INVALID; }
Result f_cuEventSynchronize(void *event) { return event ? OK : INVALID; }
Result f_cuEventElapsedTime(float *ms, void *a, void *b) { *ms = 2.5f; return a && b ? OK : INVALID; }
Result f_cuEventDestroy(void *event) { free(event); return OK; }
Result f_cuModuleLoadData(void **m, const char *image) {
    Module *module = malloc(sizeof(Module)); /* never freed, so that a later use is noticed */
    module->loaded = 1;
    *m = module;
    return memcmp(image, "\177ELF", 4) ? NO_IMAGE : OK;
}
Result f_cuModuleUnload(Module *m) { m->loaded = 0; return OK; }
Result f_cuModuleGetFunction(void **f, Module *m, const char *name) {
    Function *function = malloc(sizeof(Function));
    function->kind = strstr(name, "axpy") ? AXPY : strstr(name, "rotate") ? ROTATE : 0;
    function->module = m;
    *f = function;
    return function->kind ? OK : NOT_FOUND;
}
Result f_cuFuncSetAttribute(void *f, int key, int value) { return key == 8 && value > 49152 ? OK : INVALID; }
Result f_cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *f, int block, size_t shared) {
    *n = 2048 / block;
    return OK;
}
static Result launch(Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                     void *q, void **p) {
    Node d = {.kind = f->kind, .module = f->module, .to = *(Pointer *)p[0], .from = *(Pointer *)p[1]};
    if (!gx || gy != 1 || gz != 1 || !bx || bx > 1024 || by != 1 || bz != 1) return INVALID;
    if (f->kind == AXPY) d.alpha = *(float *)p[2];
    d.count = *(int64_t *)p[f->kind == AXPY ? 3 : 2];
    d.n = sizeof(float) * d.count;
    return (int64_t)gx * bx < d.count ? INVALID : add(d, q);
}
Result f_cuLaunchKernel(Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, void *q, void **p, void **extra) {
    return f->kind != AXPY || extra ? INVALID : launch(f, gx, gy, gz, bx, by, bz, q, p);
}
Result f_cuLaunchCooperativeKernel(Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                   unsigned bz, unsigned shared, void *q, void **p) {
    return launch(f, gx, gy, gz, bx, by, bz, q, p);
}
Result f_cuStreamBeginCapture(void *s, int mode) {
    Stream *stream = stream_of(s);
    if (stream->flags != 1 || mode != 2) return UNSAFE; /* relaxed, and independent of the legacy stream */
    stream->captured = 1;
    stream->graph.count = 0;
    return OK;
}
Result f_cuStreamEndCapture(void *s, void **g) {
    Stream *stream = stream_of(s);
    if (!stream->captured) return NOT_CAPTURED;
    stream->captured = 0;
    *g = memcpy(malloc(sizeof(Graph)), &stream->graph, sizeof(Graph));
    return OK;
}
Result f_cuGraphInstantiateWithFlags(void **e, void *g, unsigned long long flags) {
    *e = memcpy(malloc(sizeof(Graph)), g, sizeof(Graph));
    return flags ? INVALID : OK;
}
Result f_cuGraphDestroy(void *g) { free(g); return OK; }
Result f_cuGraphExecDestroy(void *g) { free(g); return OK; }
Result f_cuGraphLaunch(void *g, void *s) {
    Graph *graph = g;
    Result result = OK;
    for (int i = 0; i < graph->count && !result; i++) result = add(graph->nodes[i], s);
    return result;
}
Result f_cuGetErrorName(int e, const char **s) { *s = "CUDA_ERROR_OF_THE_FAKE"; return OK; }
Result f_cuGetErrorString(int e, const char **s) { *s = "an error of the fake driver"; return OK; }

Result cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status) {
    char name[128];
    void *self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    snprintf(name, sizeof name, "f_%s", symbol);
    *function = self ? dlsym(self, name) : NULL;
    if (status) *status = !*function;
    return *function ? OK : NOT_FOUND;
}

/* The same by their own names, for those who ask the library itself. */
Result cuInit(unsigned flags) { return f_cuInit(flags); }
Result cuDriverGetVersion(int *v) { return f_cuDriverGetVersion(v); }
Result cuDeviceGetCount(int *v) { return f_cuDeviceGetCount(v); }
Result cuDeviceGet(int *d, int ordinal) { return f_cuDeviceGet(d, ordinal); }
Result cuDeviceGetName(char *name, int n, int d) { return f_cuDeviceGetName(name, n, d); }
Result cuDeviceTotalMem_v2(size_t *v, int d) { return f_cuDeviceTotalMem(v, d); }
Result cuDeviceGetAttribute(int *v, int key, int d) { return f_cuDeviceGetAttribute(v, key, d); }
Result cuGetErrorName(int e, const char **s) { return f_cuGetErrorName(e, s); }
