/* Memory of many streams that come and go: a slot each, known by a handle that is never used again. */
#ifndef RNNRT_SLOTS_H
#define RNNRT_SLOTS_H

#include <stddef.h>
#include <stdint.h>

typedef struct rnnrt_slots {
    size_t bytes; /* of a slot */
    uint32_t capacity, used;
    uint32_t first_free, tick;
    uint8_t *memory;      /* [capacity][bytes] */
    uint32_t *generation; /* [capacity] how often it has been given back, < 2^31 */
    uint32_t *next;       /* [capacity] the next free slot, or TAKEN (slots.c) */
    uint32_t *mark;       /* [capacity] the tick that selected it last */
    void **selected;      /* [capacity] */
} rnnrt_slots;

void rnnrt_slots_init(rnnrt_slots *slots, size_t bytes);
/* Room for `capacity` slots; nothing moves but memory. 0: out of memory, nothing has changed but spare room. */
int rnnrt_slots_reserve(rnnrt_slots *slots, uint32_t capacity);
void rnnrt_slots_free(rnnrt_slots *slots);
/* The handle that the next slot taken will have; -1: all are taken. */
int64_t rnnrt_slots_next(const rnnrt_slots *slots);
void *rnnrt_slots_take(rnnrt_slots *slots);                          /* its memory; NULL: all are taken */
void *rnnrt_slots_at(const rnnrt_slots *slots, int64_t handle);      /* NULL: no such handle, or not any more */
void rnnrt_slots_give(rnnrt_slots *slots, int64_t handle);           /* of a handle that is there */
int64_t rnnrt_slots_handle(const rnnrt_slots *slots, uint32_t slot); /* -1: free */
/* selected[i] = the memory of handles[i], all different. Returns n, or the index of the first that is unknown or comes twice. */
size_t rnnrt_slots_select(rnnrt_slots *slots, const int64_t *handles, size_t n);

#endif
