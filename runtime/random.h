// Random bits that nobody can foretell: ids, nonces, ports.
#pragma once

#include <stdint.h>

// 64 of them, of getrandom(2), read ahead. Never fails: a kernel without its pool seeded blocks here, once.
uint64_t wd_random(void);
