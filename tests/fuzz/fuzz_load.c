/* libFuzzer target: any bytes at all. Most are refused by a checksum; what is tested is everything before it. */
#include "drive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    drive(data, len);
    return 0;
}
