/* Times the nodes of a graph by the probe of rnnrt.h: the C library has no clock, this has. */
#ifndef RNNRT_RECORDER_H
#define RNNRT_RECORDER_H

#include "rnnrt.h"

/* Runs `time` time steps 2 * rows times: without a probe, then with one. record: [rows][nodes + 2] nanoseconds, of every
 * node, of what is not a node's (binding inputs, keeping states, copying outputs), and of the whole call without a probe.
 * *clock_ns: what of each node's time is the probe itself, the least of many. The state goes on. */
rnnrt_status recorder_run(rnnrt_state *state, uint32_t nodes, const void *const in[], void *const out[], uint32_t time,
                          int64_t *record, size_t rows, int64_t *clock_ns);

#endif
