/* What a step of an exported model costs on a Cortex-M: instructions, and the most stack that it has used.
 *
 * Compiled with the export's own files but main.c, and -DMODEL=<name> -DHEADER="<name>.h" -DTICK_PS=<picoseconds
 * per SysTick tick>. Under QEMU's -icount shift=0 virtual time is 1 ns per instruction, so a tick is that many of them.
 */
#include <stdio.h>
#include <string.h>

#include HEADER

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define STEPS 50u
#define PAINT 0x5AA5C33Cu
#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)

extern uint32_t stack_limit, stack_top;

static float in[4096], out[4096]; /* every input and output: more than the models of the tests need */

static unsigned instructions(uint32_t before, uint32_t after, uint32_t steps) {
    return (unsigned)((uint64_t)((before - after) & 0xFFFFFFu) * TICK_PS / 1000u / steps);
}

int main(void) {
    const void *ins[] = {in};
    void *outs[] = {out};
    rnnrt_state *state;
    uint32_t before, after, start, *untouched = &stack_limit;
    for (uint32_t i = 0; i < sizeof in / sizeof in[0]; i++) in[i] = (float)(i % 37u) * 0.05f - 0.9f;
    SYST_RVR = 0xFFFFFFu;
    SYST_CVR = 0;
    SYST_CSR = 5; /* on, no interrupt, processor clock */
    start = SYST_CVR;
    if (JOIN(MODEL, _start)(&state) != RNNRT_OK) return 1;
    before = SYST_CVR;
    for (uint32_t i = 0; i < STEPS; i++) {
        if (rnnrt_step(state, ins, outs) != RNNRT_OK) return 1;
    }
    after = SYST_CVR;
    while (*untouched == PAINT) untouched++;
    printf("start %u step %u stack %u\n", instructions(start, before, 1), instructions(before, after, STEPS),
           (unsigned)((uintptr_t)&stack_top - (uintptr_t)untouched));
    fflush(stdout);
    return 0;
}
