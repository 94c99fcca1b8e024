// A CUDA driver and a cuBLASLt in one library, without a GPU: memory is malloc's, streams work when somebody waits for
// them and not before, and every call checks what a driver would: context, handles, bounds, sizes of attributes. What
// is still alive when the context is released ends the process.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))
#define MOST 4096
enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NO_CONTEXT = 201, BAD_HANDLE = 400, FAULT = 700, CAPTURING = 900 };
typedef int (*Work)(void*);
typedef struct { Work work; size_t bytes; float time; char data[512]; } Op;
typedef struct { int count; Op ops[64]; } Graph;
// Of a stream: its operations in a ring, how many were given and are done, and what was made of time.
// Of an event: the stream that it was recorded on, and how many operations came before.
typedef struct Object Object;
struct Object { char kind; size_t bytes; void* data; Graph* capture; Op* ring; long given, done; float time; Object* stream; };
typedef struct { const char* name; int threads, arguments; size_t sizes[8]; int shared; Work work; int loaded, carveout; } Function;
enum { RING = 4096 };

static Object objects[MOST];
static int alive, fault, retained;
static _Thread_local void* current;

static int option(const char* name, int value) { return getenv(name) ? atoi(getenv(name)) : value; }
static void die(const char* what) { fprintf(stderr, "fake CUDA: %s\n", what); abort(); }
static Object* make(char kind) {
    for (int i = 0; i < MOST; i++)
        if (!objects[i].kind) { objects[i] = (Object){.kind = kind}; alive++; return &objects[i]; }
    die("too many objects");
    return 0;
}
static Object* is(void* handle, char kind) {
    Object* o = handle;
    return o >= objects && o < objects + MOST && o->kind == kind ? o : 0;
}
static int drop(void* handle, char kind) {
    Object* o = is(handle, kind);
    if (!o) die("a handle was destroyed twice, or was none");
    free(o->data), free(o->ring);
    o->kind = 0, o->data = 0, o->ring = 0, alive--;
    return OK;
}
static int inside(uint64_t address, size_t bytes, char kind) {
    for (int i = 0; i < MOST; i++) {
        uint64_t start = (uint64_t)objects[i].data;
        if (objects[i].kind == kind && address >= start && address + bytes <= start + objects[i].bytes) return 1;
    }
    return 0;
}
#define READY if (!current) return NO_CONTEXT; if (fault) return fault
#define OUTSIDE_CAPTURE for (int i_ = 0; i_ < MOST; i_++) if (objects[i_].kind == 's' && objects[i_].capture) return CAPTURING
static void push(Object* s, Op op) {
    if (!s->ring) s->ring = calloc(RING, sizeof(Op));
    if (s->given - s->done == RING) die("too much work that nobody waits for");
    s->ring[s->given++ % RING] = op;
}
static int submit(void* stream, Work work, const void* data, size_t bytes, float time) {
    Object* s = is(stream, 's');
    if (!s) return BAD_HANDLE;
    Op op = {.work = work, .bytes = bytes, .time = time};
    if (bytes > sizeof op.data) die("large operation");
    memcpy(op.data, data, bytes);
    if (s->capture) s->capture->ops[s->capture->count++] = op; else push(s, op);
    return OK;
}
// A stream does its operations up to this one.
static void work_until(Object* s, long operations) {
    while (s->done < operations) {
        Op* op = &s->ring[s->done % RING];
        if (!fault) op->work(op->data);
        s->time += op->time, s->done++;
    }
}
static void work_all(void) { for (int i = 0; i < MOST; i++) if (objects[i].kind == 's') work_until(&objects[i], objects[i].given); }

API int cuInit(unsigned flags) { return flags ? INVALID : option("FAKE_INIT", 0); }
API int cuDriverGetVersion(int* v) { *v = option("FAKE_VERSION", 13000); return OK; }
API int cuGetErrorName(int e, const char** s) {
    *s = e == 100 ? "CUDA_ERROR_NO_DEVICE" : e == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : e == FAULT ? "CUDA_ERROR_ILLEGAL_ADDRESS" : 0;
    return *s ? OK : INVALID;
}
API int cuGetErrorString(int e, const char** s) { *s = "as the driver says it"; return cuGetErrorName(e, s) ? (*s = 0, INVALID) : (*s = "as the driver says it", OK); }
API int cuDeviceGetCount(int* n) { *n = option("FAKE_DEVICES", 1); return OK; }
API int cuDeviceGet(int* d, int i) { *d = i + 40; return i < option("FAKE_DEVICES", 1) ? OK : 101; }
API int cuDeviceGetName(char* s, int n, int d) { snprintf(s, n, "Fake %d", d); return OK; }
API int cuDeviceTotalMem_v2(size_t* b, int d) { *b = 8ull << 30; return d < 40; }
API int cuDeviceGetAttribute(int* v, int which, int d) {
    *v = which == 75 ? option("FAKE_MAJOR", 9) : which == 76 ? 0 : which == 97 ? 232448 : which == 16 ? 132 : -1;
    return *v < 0 || d < 40;
}
API int cuDevicePrimaryCtxRetain(void** c, int d) { retained++; *c = &retained; return d < 40; }
API int cuDevicePrimaryCtxRelease_v2(int d) {
    if (d < 40 || --retained < 0) die("released more often than retained");
    if (!retained && alive) die("something is still alive");
    if (!retained) { fault = 0; fprintf(stderr, "fake CUDA: all freed\n"); }
    return OK;
}
API int cuCtxSetCurrent(void* c) { current = c; return c ? OK : NO_CONTEXT; }
API int cuCtxSynchronize(void) { READY; OUTSIDE_CAPTURE; work_all(); return fault; }
API int cuMemGetInfo_v2(size_t* f, size_t* t) { READY; *f = 2u << 30, *t = 3ull << 30; return OK; }
API int cuMemAlloc_v2(uint64_t* p, size_t n) {
    READY; OUTSIDE_CAPTURE;
    if (!n) return INVALID;
    if (n > 1 << 30) return NO_MEMORY;
    Object* o = make('d');
    o->bytes = n, o->data = aligned_alloc(256, (n + 255) / 256 * 256);
    *p = (uint64_t)o->data;
    return OK;
}
static int free_memory(uint64_t p, char kind) {
    for (int i = 0; i < MOST; i++) if (objects[i].kind == kind && (uint64_t)objects[i].data == p) return drop(&objects[i], kind);
    die("freed what was not allocated");
    return INVALID;
}
API int cuMemFree_v2(uint64_t p) { return free_memory(p, 'd'); }
API int cuMemHostAlloc(void** p, size_t n, unsigned flags) {
    READY; OUTSIDE_CAPTURE;
    if (!n || flags) return INVALID;
    Object* o = make('h');
    o->bytes = n, *p = o->data = malloc(n);
    return OK;
}
API int cuMemFreeHost(void* p) { return free_memory((uint64_t)p, 'h'); }

typedef struct { void* to; const void* from; size_t bytes; unsigned char value; } Move;
static int move(void* p) { Move* m = p; memcpy(m->to, m->from, m->bytes); return OK; }
static int set(void* p) { Move* m = p; memset(m->to, m->value, m->bytes); return OK; }
API int cuMemsetD8_v2(uint64_t p, unsigned char v, size_t n) { READY; if (!inside(p, n, 'd')) return INVALID; memset((void*)p, v, n); return OK; }
API int cuMemsetD8Async(uint64_t p, unsigned char v, size_t n, void* s) {
    READY; Move m = {(void*)p, 0, n, v};
    return inside(p, n, 'd') ? submit(s, set, &m, sizeof m, 0) : INVALID;
}
API int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t n) { READY; OUTSIDE_CAPTURE; if (!inside(from, n, 'd')) return INVALID; memcpy(to, (void*)from, n); return OK; }
API int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t n, void* s) {
    READY; Move m = {(void*)to, from, n, 0};
    return inside(to, n, 'd') ? submit(s, move, &m, sizeof m, 0) : INVALID;
}
API int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t n, void* s) {
    READY; Move m = {to, (void*)from, n, 0};
    return inside(from, n, 'd') && inside((uint64_t)to, n, 'h') ? submit(s, move, &m, sizeof m, 0) : INVALID;
}
typedef struct { size_t x, y; int kind; void* host; uint64_t device; void* array; size_t pitch; } Side;
typedef struct { Side from, to; size_t width, height; } Rect;
static int move_rows(void* p) {
    Rect* r = p;
    char* from = r->from.kind == 1 ? r->from.host : (char*)r->from.device;
    char* to = r->to.kind == 1 ? r->to.host : (char*)r->to.device;
    for (size_t i = 0; i < r->height; i++) memcpy(to + i * r->to.pitch, from + i * r->from.pitch, r->width);
    return OK;
}
static int side_is_sound(const Side* s, size_t width, size_t height) {
    if (s->x || s->y || s->array || (s->kind != 1 && s->kind != 2) || s->pitch < width || s->pitch >= 1u << 31) return 0;
    return inside(s->kind == 1 ? (uint64_t)s->host : s->device, (height - 1) * s->pitch + width, s->kind == 1 ? 'h' : 'd');
}
API int cuMemcpy2DAsync_v2(const Rect* r, void* s) {
    READY;
    if (!r->width || !r->height || r->from.kind == r->to.kind) return INVALID;
    if (!side_is_sound(&r->from, r->width, r->height) || !side_is_sound(&r->to, r->width, r->height)) return INVALID;
    return submit(s, move_rows, (void*)r, sizeof *r, 0);
}
API int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void* s) {
    READY; Move m = {(void*)to, (void*)from, n, 0};
    if (to < from + n && from < to + n) return INVALID;
    return inside(to, n, 'd') && inside(from, n, 'd') ? submit(s, move, &m, sizeof m, 0) : INVALID;
}

API int cuStreamCreate(void** s, unsigned flags) { READY; OUTSIDE_CAPTURE; if (flags != 1) return INVALID; *s = make('s'); return OK; }
API int cuStreamDestroy_v2(void* s) { return drop(s, 's'); }
API int cuStreamSynchronize(void* s) { READY; OUTSIDE_CAPTURE; if (!is(s, 's')) return BAD_HANDLE; work_until(s, is(s, 's')->given); return fault; }
typedef struct { Object* event; Object* stream; long operations; } Moment;
static int wait_for(void* p) { Moment* m = p; if (m->stream) work_until(m->stream, m->operations); return OK; }
static int note_time(void* p) { Moment* m = p; m->event->time = m->stream->time; return OK; }
API int cuStreamWaitEvent(void* s, void* e, unsigned flags) {
    READY; if (!is(s, 's') || !is(e, 'e') || flags) return BAD_HANDLE;
    Moment m = {0, is(e, 'e')->stream, is(e, 'e')->given};
    return submit(s, wait_for, &m, sizeof m, 0);
}
API int cuStreamBeginCapture_v2(void* s, int mode) {
    READY; OUTSIDE_CAPTURE;
    if (!is(s, 's') || mode != 1) return INVALID;
    is(s, 's')->capture = calloc(1, sizeof(Graph));
    return OK;
}
API int cuStreamEndCapture(void* s, void** g) {
    if (!is(s, 's') || !is(s, 's')->capture) return INVALID;
    Object* o = make('g');
    o->data = is(s, 's')->capture, is(s, 's')->capture = 0, *g = o;
    return OK;
}
API int cuEventCreate(void** e, unsigned flags) { READY; OUTSIDE_CAPTURE; if (flags & ~2u) return INVALID; Object* o = make('e'); o->bytes = flags; *e = o; return OK; }
API int cuEventDestroy_v2(void* e) { return drop(e, 'e'); }
API int cuEventRecord(void* e, void* s) {
    READY; if (!is(e, 'e') || !is(s, 's')) return BAD_HANDLE;
    Moment m = {e, s, 0};
    submit(s, note_time, &m, sizeof m, 0);
    is(e, 'e')->stream = s, is(e, 'e')->given = is(s, 's')->given;
    return OK;
}
API int cuEventSynchronize(void* e) { READY; OUTSIDE_CAPTURE; if (!is(e, 'e')) return BAD_HANDLE; Moment m = {0, is(e, 'e')->stream, is(e, 'e')->given}; wait_for(&m); return fault; }
// Only the old name, as in drivers before 12.8.
API int cuEventElapsedTime(float* ms, void* a, void* b) { READY; if (!is(a, 'e') || is(a, 'e')->bytes) return BAD_HANDLE; *ms = is(b, 'e')->time - is(a, 'e')->time; return OK; }
API int cuGraphInstantiateWithFlags(void** x, void* g, unsigned long long flags) {
    READY; if (!is(g, 'g') || flags) return INVALID;
    Object* o = make('x');
    o->data = malloc(sizeof(Graph)), memcpy(o->data, is(g, 'g')->data, sizeof(Graph)), *x = o;
    return OK;
}
API int cuGraphDestroy(void* g) { return drop(g, 'g'); }
API int cuGraphExecDestroy(void* x) { return drop(x, 'x'); }
API int cuGraphLaunch(void* x, void* s) {
    READY; if (!is(x, 'x') || !is(s, 's')) return BAD_HANDLE;
    Graph* g = is(x, 'x')->data;
    for (int i = 0; i < g->count; i++) push(s, g->ops[i]);
    return OK;
}

typedef struct { float* x; float factor; int n; } Scale;
static int scale(void* p) { Scale* a = p; for (int i = 0; i < a->n; i++) a->x[i] *= a->factor; return OK; }
static int nothing(void* p) { (void)p; return OK; }
static int crash(void* p) { (void)p; fault = FAULT; return OK; }
static Function functions[] = {
    {"scale", 256, 3, {8, 4, 4}, 49152, scale, 0, 0}, {"wide", 128, 0, {0}, 49152, nothing, 0, 0}, {"crash", 32, 0, {0}, 49152, crash, 0, 0}};
API int cuModuleLoadData(void** m, const void* image) { READY; if ((uint64_t)image % 8 || memcmp(image, "FAKE", 4)) return 200; *m = make('m'); return OK; }
API int cuModuleUnload(void* m) { return drop(m, 'm'); }
API int cuModuleGetFunctionCount(unsigned* n, void* m) { READY; *n = 3; return is(m, 'm') ? OK : BAD_HANDLE; }
API int cuModuleEnumerateFunctions(void** f, unsigned n, void* m) {
    READY; if (!is(m, 'm')) return BAD_HANDLE;
    for (unsigned i = 0; i < n && i < 3; i++) f[i] = &functions[i];
    return OK;
}
API int cuFuncGetName(const char** s, void* f) { READY; *s = ((Function*)f)->name; return OK; }
API int cuFuncLoad(void* f) { READY; OUTSIDE_CAPTURE; ((Function*)f)->loaded = 1; return OK; }
API int cuFuncGetAttribute(int* v, int which, void* f) { READY; *v = ((Function*)f)->threads; return which ? INVALID : OK; }
API int cuFuncSetAttribute(void* f, int which, int v) {
    READY; Function* k = f;
    if (which != 8 && which != 9) return INVALID;
    if (v < 0 || v > (which == 8 ? 232448 : 100)) return INVALID;
    *(which == 8 ? &k->shared : &k->carveout) = v;
    return OK;
}
API int cuFuncGetParamInfo(void* f, size_t i, size_t* offset, size_t* size) {
    Function* k = f;
    if (i >= (size_t)k->arguments) return INVALID;
    *size = k->sizes[i], *offset = i ? 8 + 4 * (i - 1) : 0;
    return OK;
}
API int cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned x, unsigned y, unsigned z, unsigned shared, void* s, void** args, void** extra) {
    READY; Function* k = f; char packed[64];
    if (!gx || !gy || !gz || x > (unsigned)k->threads || y != 1 || z != 1 || extra || shared > (unsigned)k->shared) return INVALID;
    // Whether two blocks fit into an SM is the driver's choice otherwise.
    if (!k->loaded || (shared >= 24576 && k->carveout != 100)) die("a launch of what was not loaded, or of tiles in a small part of the SM");
    size_t at = 0;
    for (int i = 0; i < k->arguments; at += k->sizes[i++]) memcpy(packed + at, args[i], k->sizes[i]);
    return submit(s, k->work, packed, at, gx);
}

// cuBLASLt. Three algorithms: the first is fast and never gives the same bits twice, the second works, the third is
// offered and then refused. With a bias gradient (epilogue 512), the bits of which are then those that differ, all take
// 1 more, and with a long k there is none.
enum { LT_INVALID = 7, LT_UNSUPPORTED = 15 };
typedef struct { int transa, transb, epilogue, bias_type; uint64_t bias; } Product;
typedef struct { int type; uint64_t rows, columns; int64_t stride; } Layout;
typedef struct { Product p; Layout a, b, c, d; const uint16_t *x, *y; const void* from; void* to; float beta; int algorithm; } Call;
typedef struct { uint64_t algorithm[8]; size_t workspace; int state; float waves; int reserved[4]; } Result;
static float widen(uint16_t x) { uint32_t u = (uint32_t)x << 16; float f; memcpy(&f, &u, 4); return f; }
static uint16_t narrow(float f) { uint32_t u; memcpy(&u, &f, 4); return (u + 0x7FFF + (u >> 16 & 1)) >> 16; }
static int multiply(void* data) {
    static int runs;
    Call* c = data;
    uint64_t k = c->p.transa ? c->a.rows : c->a.columns;
    runs++;
    for (uint64_t j = 0; c->p.epilogue == 512 && j < c->d.columns; j++) {
        float sum = c->algorithm == 1 ? runs : 0;
        for (uint64_t l = 0; l < k; l++) sum += widen(c->y[c->p.transb ? j + l * c->b.stride : l + j * c->b.stride]);
        ((float*)c->p.bias)[j] = sum;
    }
    for (uint64_t j = 0; j < c->d.columns; j++) for (uint64_t i = 0; i < c->d.rows; i++) {
        float sum = c->algorithm == 1 && c->p.epilogue != 512 ? runs : 0;
        for (uint64_t l = 0; l < k; l++)
            sum += widen(c->x[c->p.transa ? l + i * c->a.stride : i + l * c->a.stride]) * widen(c->y[c->p.transb ? j + l * c->b.stride : l + j * c->b.stride]);
        uint64_t from = i + j * c->c.stride, to = i + j * c->d.stride;
        if (c->beta) sum += c->beta * (c->c.type ? widen(((uint16_t*)c->from)[from]) : ((float*)c->from)[from]);
        if (c->p.epilogue == 4) sum += widen(((uint16_t*)c->p.bias)[i]);
        if (c->d.type) ((uint16_t*)c->to)[to] = narrow(sum); else ((float*)c->to)[to] = sum;
    }
    return OK;
}
#define LT(o, kind) if (!is(o, kind)) return LT_INVALID
API size_t cublasLtGetVersion(void) { return 130002; }
API int cublasLtCreate(void** h) { *h = make('b'); return current ? OK : 1; }
API int cublasLtDestroy(void* h) { return drop(h, 'b'); }
API int cublasLtMatmulDescCreate(void** p, int compute, int scale) {
    if (compute != 68 || scale != 0) return LT_UNSUPPORTED;
    Object* o = make('p');
    *(Product*)(o->data = calloc(1, sizeof(Product))) = (Product){.epilogue = 1};
    *p = o;
    return OK;
}
API int cublasLtMatmulDescDestroy(void* p) { return drop(p, 'p'); }
API int cublasLtMatmulDescSetAttribute(void* d, int which, const void* value, size_t bytes) {
    LT(d, 'p'); Product* p = is(d, 'p')->data;
    void* field = which == 3 ? (void*)&p->transa : which == 4 ? &p->transb : which == 7 ? &p->epilogue : which == 26 ? &p->bias_type : which == 8 ? (void*)&p->bias : 0;
    if (!field || bytes != (which == 8 ? 8 : 4)) return LT_INVALID;
    memcpy(field, value, bytes);
    return OK;
}
API int cublasLtMatrixLayoutCreate(void** l, int type, uint64_t rows, uint64_t columns, int64_t stride) {
    if ((type != 0 && type != 14) || stride < (int64_t)rows) return LT_INVALID;
    Object* o = make('l');
    *(Layout*)(o->data = malloc(sizeof(Layout))) = (Layout){type, rows, columns, stride};
    *l = o;
    return OK;
}
API int cublasLtMatrixLayoutDestroy(void* l) { return drop(l, 'l'); }
API int cublasLtMatmulPreferenceCreate(void** f) { Object* o = make('f'); o->data = calloc(16, 8); *f = o; return OK; }
API int cublasLtMatmulPreferenceDestroy(void* f) { return drop(f, 'f'); }
API int cublasLtMatmulPreferenceSetAttribute(void* f, int which, const void* value, size_t bytes) {
    LT(f, 'f'); if (which > 8 || bytes != (which == 1 ? 8 : 4)) return LT_INVALID;
    memcpy((uint64_t*)is(f, 'f')->data + which, value, bytes);
    return OK;
}
API int cublasLtMatmulAlgoGetHeuristic(void* h, void* p, void* a, void* b, void* c, void* d, void* f, int most, Result* results, int* count) {
    LT(h, 'b'); LT(p, 'p'); LT(a, 'l'); LT(b, 'l'); LT(c, 'l'); LT(d, 'l'); LT(f, 'f');
    uint64_t* preference = is(f, 'f')->data;
    if (preference[3] != 2 || most < 16) return LT_INVALID;
    for (int i = 5; i <= 8; i++) if (preference[i] != 16) return LT_INVALID;
    if (((Product*)is(p, 'p')->data)->epilogue == 512 && ((Layout*)is(a, 'l')->data)->rows + ((Layout*)is(a, 'l')->data)->columns > 64) return LT_UNSUPPORTED;
    for (int i = 0; i < 3; i++) results[i] = (Result){.algorithm = {i + 1, 77}, .workspace = 64 * i, .state = 0};
    results[3] = (Result){.algorithm = {2}, .state = 4711};
    *count = 4;
    return OK;
}
API int cublasLtMatmulAlgoCheck(void* h, void* p, void* a, void* b, void* c, void* d, const uint64_t* algorithm, Result* result) {
    LT(h, 'b'); LT(p, 'p'); LT(a, 'l'); LT(b, 'l'); LT(c, 'l'); LT(d, 'l');
    result->workspace = 64;
    return algorithm[1] == 77 ? OK : LT_INVALID;
}
API int cublasLtMatmul(void* h, void* p, const float* alpha, const void* x, void* a, const void* y, void* b, const float* beta, const void* from, void* c, void* to, void* d, const uint64_t* algorithm, void* workspace, size_t bytes, void* s) {
    LT(h, 'b'); LT(p, 'p'); LT(a, 'l'); LT(b, 'l'); LT(c, 'l'); LT(d, 'l');
    if (!is(s, 's') || *alpha != 1 || algorithm[1] != 77) return LT_INVALID;
    if (algorithm[0] == 3) return LT_UNSUPPORTED;
    if (bytes < 64 || !inside((uint64_t)workspace, bytes, 'd') || (uint64_t)workspace % 16) return LT_INVALID;
    Call call = {*(Product*)is(p, 'p')->data, *(Layout*)is(a, 'l')->data, *(Layout*)is(b, 'l')->data, *(Layout*)is(c, 'l')->data, *(Layout*)is(d, 'l')->data, x, y, from, to, *beta, algorithm[0]};
    if (call.p.epilogue == 4 && (call.p.bias_type != 14 || !inside(call.p.bias, call.d.rows * 2, 'd'))) return LT_INVALID;
    if (call.p.epilogue == 512 && (call.p.bias_type != 0 || call.d.type != 0 || !inside(call.p.bias, call.d.columns * 4, 'd'))) return LT_INVALID;
    return submit(s, multiply, &call, sizeof call, algorithm[0] + (call.p.epilogue == 512));
}
