/* From reset to main on a Cortex-M that QEMU emulates, with newlib's semihosting (printf, files, exit reach the host).
 *
 * Arguments come from QEMU's command line. An exception ends the run with exit code 70 instead of hanging. For counting,
 * SysTick runs freely from the processor's clock and the stack is painted; see count.c.
 */
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

#define PAINT 0x5AA5C33Cu

extern uint32_t bss_begin, bss_end, stack_limit, stack_top;
int main(int argc, char **argv);
void initialise_monitor_handles(void); /* newlib: opens standard input and output */
void reset_handler(void);
void fault_handler(void);
void _init(void);
void _fini(void);

static int semihost(int operation, void *block) {
    register int r0 __asm__("r0") = operation;
    register void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static int split(char *line, char **argv, int room) {
    int n = 0;
    for (char *p = line; *p && n < room; n++) {
        while (*p == ' ') *p++ = 0;
        if (!*p) break;
        argv[n] = p;
        while (*p && *p != ' ') p++;
    }
    return n;
}

void fault_handler(void) { _Exit(70); }

/* newlib's aligned_alloc calls this but newlib has only the older function. */
int posix_memalign(void **memory, size_t alignment, size_t bytes) {
    *memory = memalign(alignment, bytes);
    return *memory ? 0 : 12; /* ENOMEM */
}

/* Without newlib's own start-up files these two are called by nothing but must exist. */
void _init(void) {}
void _fini(void) {}

void reset_handler(void) {
    static char line[512];
    static char *argv[16];
    struct {
        char *text;
        int room;
    } command = {line, sizeof line};
    for (uint32_t *p = &bss_begin; p < &bss_end; p++) *p = 0;
    for (uint32_t *p = &stack_limit; (uintptr_t)p < (uintptr_t)__builtin_frame_address(0) - 64; p++) *p = PAINT;
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: coprocessors 10 and 11, the floating-point unit */
    __asm__ volatile("dsb\n\tisb");
#endif
    initialise_monitor_handles();
    semihost(0x15, &command); /* SYS_GET_CMDLINE */
    exit(main(split(line, argv, 16), argv));
}

/* Stack, reset, then NMI and the faults up to SVCall. */
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*handlers[11])(void);
} vectors = {&stack_top,
             {reset_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
              fault_handler, fault_handler, fault_handler, fault_handler}};
