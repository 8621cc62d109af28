/* An allocator that fails when told to, to be preloaded: glibc's own, but one allocation out of many gives NULL.
 *
 * For a program in which one thread allocates. With PYTHONMALLOC=malloc every object of Python and every array of numpy comes through here too. Refused is what rnnrt's
 * extension module asks for, itself or by a call into Python or numpy, and the elements of arrays; not what the interpreter
 * and numpy allocate on their own (CPython 3.11 and numpy 2 answer some of that by a SystemError, or leak).
 */
#define _GNU_SOURCE /* dl_iterate_phdr */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unwind.h>

#define ARRAY 1024 /* bytes: from here on numpy asks for an array's elements */

/* Set from Python through ctypes, which allocates nothing for it. */
extern int starve_on;                   /* only while it is set is anything counted or refused */
extern int starve_everything;           /* also what the interpreter allocates on its own */
extern int starve_forever;              /* refuse what follows as well */
extern long starve_at;                  /* which one is refused, from 0 */
extern long starve_count, starve_alive; /* asked for while on; those of them that are not free again */
int starve_on, starve_everything, starve_forever;
long starve_at, starve_count, starve_alive;

#define BLOCKS 65536
static void *blocks[BLOCKS]; /* [starve_alive] */

/* glibc's names for what is replaced here */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t n);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *p);

typedef struct range {
    uintptr_t begin, end;
} range;

static range extension, numpy, interpreter; /* code of rnnrt._rnnrt, of numpy's core, of the bytecode loop */

static int object(struct dl_phdr_info *info, size_t size, void *unused) {
    range *found = strstr(info->dlpi_name, "/_rnnrt.")             ? &extension
                   : strstr(info->dlpi_name, "/_multiarray_umath") ? &numpy
                                                                   : NULL;
    (void)size, (void)unused;
    for (int i = 0; found && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        found->begin = info->dlpi_addr + part->p_vaddr;
        found->end = found->begin + part->p_memsz;
    }
    return 0;
}

/* Once, when everything is loaded. Returns whether all three were found. */
int starve_look(void);
int starve_look(void) {
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    void *loop = dlsym(RTLD_DEFAULT, "_PyEval_EvalFrameDefault");
    dl_iterate_phdr(object, NULL);
    if (!loop || !dladdr1(loop, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol) return 0;
    interpreter.begin = (uintptr_t)loop;
    interpreter.end = interpreter.begin + symbol->st_size;
    return extension.end > extension.begin && numpy.end > numpy.begin && symbol->st_size > 0;
}

static int within(const range *r, uintptr_t address) { return address > r->begin && address <= r->end; }

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *found) {
    const uintptr_t address = _Unwind_GetIP(context); /* the instruction behind the call */
    if (within(&interpreter, address)) return _URC_NORMAL_STOP;
    if (within(&numpy, address)) *(int *)found = 2;
    if (!within(&extension, address)) return _URC_NO_REASON;
    *(int *)found = 1;
    return _URC_NORMAL_STOP;
}

/* Is there code of rnnrt, or of numpy for an array's elements, between this allocation and the bytecode that led to it? */
static int ours(size_t bytes) {
    int found = 0;
    if (starve_everything) return 1;
    _Unwind_Backtrace(frame, &found);
    return found == 1 || (found == 2 && bytes >= ARRAY);
}

/* 0: refused; else glibc may be asked, and the block is kept account of (1) or not (2). */
static int asked(size_t bytes) {
    static _Thread_local int inside __attribute__((tls_model("initial-exec"))); /* the unwinder may allocate */
    if (!starve_on || inside) return 2;
    inside = 1;
    const int counts = ours(bytes);
    inside = 0;
    if (!counts) return 2;
    const long at = starve_count++;
    if (at != starve_at && !(starve_forever && at > starve_at)) return 1;
    errno = ENOMEM;
    return 0;
}

static void *keep(void *p, int answer) {
    if (p && answer == 1 && starve_alive < BLOCKS) blocks[starve_alive++] = p;
    return p;
}

static void forget(const void *p) {
    for (long i = 0; p && i < starve_alive; i++) {
        if (blocks[i] == p) blocks[i] = blocks[--starve_alive];
    }
}

void *malloc(size_t n) {
    const int answer = asked(n);
    return answer ? keep(__libc_malloc(n), answer) : NULL;
}

void *calloc(size_t count, size_t n) {
    const int answer = asked(count * n);
    return answer ? keep(__libc_calloc(count, n), answer) : NULL;
}

void *realloc(void *p, size_t n) {
    const int answer = asked(n);
    if (!answer) return NULL;
    forget(p);
    return keep(__libc_realloc(p, n), answer);
}

void *memalign(size_t alignment, size_t n) {
    const int answer = asked(n);
    return answer ? keep(__libc_memalign(alignment, n), answer) : NULL;
}

void *aligned_alloc(size_t alignment, size_t n) { return memalign(alignment, n); }

int posix_memalign(void **p, size_t alignment, size_t n) {
    void *made = memalign(alignment, n);
    if (!made) return ENOMEM;
    *p = made;
    return 0;
}

void free(void *p) {
    forget(p);
    __libc_free(p);
}
