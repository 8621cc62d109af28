/* What both fuzz targets do with bytes that may be a model: load it and, where it loads, run it on every instruction set. */
#ifndef DRIVE_H
#define DRIVE_H

#include <stddef.h>
#include <stdint.h>

/* blob: [len] bytes, read in place through an allocation of exactly len bytes, so that a sanitizer sees a byte too far.
 * Aborts where a promise is broken: memory beyond what the file's size explains, an undocumented status, a state whose
 * own variables can't be read, different bits on two instruction sets. */
void drive(const uint8_t *data, size_t len);

#endif
