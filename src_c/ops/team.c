/* Dividing the blocks of a layer among the caller's threads. */
#include "op.h"

/* Less work than this is done alone: docs/decisions.md has the measurement. */
#define WORTH_IT (UINT64_C(1) << 17)

typedef struct share {
    uint32_t blocks, parts;
    rnnrt_range run;
    void *job;
} share;

/* The part-th of equal ranges. blocks * parts < 2^64. */
static void run_part(void *context, uint32_t part) {
    const share *s = (const share *)context;
    const uint32_t first = (uint32_t)((uint64_t)s->blocks * part / s->parts);
    const uint32_t end = (uint32_t)((uint64_t)s->blocks * (part + 1u) / s->parts);
    s->run(s->job, first, end);
}

void rnnrt_team_split(const rnnrt_team *team, uint32_t blocks, uint64_t work, rnnrt_range run, void *job) {
    share s = {blocks, team->threads < blocks ? team->threads : blocks, run, job};
    if (s.parts < 2 || work < WORTH_IT) {
        run(job, 0, blocks);
        return;
    }
    team->parallel(team->context, s.parts, run_part, &s);
}
