/* Memory of many streams that come and go; see slots.h. */
#include "slots.h"

#include <stdlib.h>
#include <string.h>

#define NOWHERE 0xFFFFFFFFu /* the end of the free slots */
#define TAKEN 0xFFFFFFFEu

void rnnrt_slots_init(rnnrt_slots *s, size_t bytes) {
    memset(s, 0, sizeof *s);
    s->bytes = bytes ? bytes : 1u; /* a model without states: a slot still has an address of its own */
    s->first_free = NOWHERE;
}

static int grow(void **array, size_t count, size_t unit) {
    void *larger = count > SIZE_MAX / unit ? NULL : realloc(*array, count * unit);
    if (larger) *array = larger;
    return larger != NULL;
}

int rnnrt_slots_reserve(rnnrt_slots *s, uint32_t capacity) {
    if (capacity <= s->capacity) return 1;
    if (!grow((void **)&s->memory, capacity, s->bytes) || !grow((void **)&s->generation, capacity, sizeof(uint32_t)) ||
        !grow((void **)&s->next, capacity, sizeof(uint32_t)) || !grow((void **)&s->mark, capacity, sizeof(uint32_t)) ||
        !grow((void **)&s->selected, capacity, sizeof(void *)))
        return 0;
    for (uint32_t i = capacity; i-- > s->capacity;) { /* the lowest first */
        s->generation[i] = s->mark[i] = 0;
        s->next[i] = s->first_free;
        s->first_free = i;
    }
    s->capacity = capacity;
    return 1;
}

void rnnrt_slots_free(rnnrt_slots *s) {
    free(s->memory);
    free(s->generation);
    free(s->next);
    free(s->mark);
    free(s->selected);
    rnnrt_slots_init(s, s->bytes);
}

static int64_t handle_of(const rnnrt_slots *s, uint32_t slot) {
    return (int64_t)((uint64_t)s->generation[slot] << 32 | slot);
}

int64_t rnnrt_slots_handle(const rnnrt_slots *s, uint32_t slot) {
    return s->next[slot] == TAKEN ? handle_of(s, slot) : -1;
}

int64_t rnnrt_slots_next(const rnnrt_slots *s) { return s->first_free == NOWHERE ? -1 : handle_of(s, s->first_free); }

void *rnnrt_slots_take(rnnrt_slots *s) {
    const uint32_t slot = s->first_free;
    if (slot == NOWHERE) return NULL;
    s->first_free = s->next[slot];
    s->next[slot] = TAKEN;
    s->used++;
    return s->memory + slot * s->bytes;
}

void *rnnrt_slots_at(const rnnrt_slots *s, int64_t handle) {
    const uint32_t slot = (uint32_t)((uint64_t)handle & 0xFFFFFFFFu);
    if (handle < 0 || slot >= s->capacity || rnnrt_slots_handle(s, slot) != handle) return NULL;
    return s->memory + slot * s->bytes;
}

void rnnrt_slots_give(rnnrt_slots *s, int64_t handle) {
    const uint32_t slot = (uint32_t)((uint64_t)handle & 0xFFFFFFFFu);
    s->generation[slot] = (s->generation[slot] + 1u) & 0x7FFFFFFFu;
    s->next[slot] = s->first_free;
    s->first_free = slot;
    s->used--;
}

size_t rnnrt_slots_select(rnnrt_slots *s, const int64_t *handles, size_t n) {
    if (++s->tick == 0) { /* after 2^32 calls old marks would look new */
        memset(s->mark, 0, s->capacity * sizeof *s->mark);
        s->tick = 1;
    }
    for (size_t i = 0; i < n; i++) {
        void *memory = rnnrt_slots_at(s, handles[i]);
        const uint32_t slot = (uint32_t)((uint64_t)handles[i] & 0xFFFFFFFFu);
        if (!memory || s->mark[slot] == s->tick) return i;
        s->mark[slot] = s->tick;
        s->selected[i] = memory;
    }
    return n;
}
