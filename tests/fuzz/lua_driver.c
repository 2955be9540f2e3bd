// The fuzzer around what is parsed in Lua: FUZZ_SCRIPT, a file of this folder, returns function(input), which raises where a rule does not hold.
// Must hold: every error ends the run with its traceback, and so does a call that takes over a second of CPU, or memory that stays taken from call to call.
//
// libFuzzer sees no coverage of its own in Lua code. A line hook counts pairs of lines that follow one another where libFuzzer looks for counters.
#include <lauxlib.h>
#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/loop.h"
#include "runtime/vm.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COUNTERS = 1 << 14, LONGEST_NS = 1000000000, SETTLE_RUNS = 1000, GROWTH_KIB = 32 * 1024, PIECE = 16, STRETCH_ONE_IN = 128, STRETCHED = 1 << 15 };

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

static struct wd_loop loop;
static struct wd_vm vm;
static int script = LUA_NOREF;
static uint32_t before; // the line that ran last

struct input {
  const char *bytes;
  size_t n;
};

static void on_line(lua_State *L, lua_Debug *ar) {
  lua_getinfo(L, "S", ar);
  uint32_t here = 2166136261u;
  for (const char *c = ar->short_src; *c; c++) here = (here ^ (uint8_t)*c) * 16777619u;
  here = (here ^ (uint32_t)ar->currentline) * 16777619u;
  counters[(here ^ (before >> 1)) % COUNTERS]++;
  before = here;
}

static int l_load(lua_State *L) {
  if (luaL_loadfile(L, FUZZ_SCRIPT)) return lua_error(L);
  lua_call(L, 0, 1);
  luaL_checktype(L, -1, LUA_TFUNCTION);
  script = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static int l_run(lua_State *L) {
  const struct input *input = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, script);
  lua_pushlstring(L, input->bytes, input->n);
  lua_call(L, 1, 0);
  return 0;
}

static int64_t cpu_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

// After a full collection nothing is lost, and what is live does not grow for ever. libFuzzer's own look for leaks, after every call that allocated
// more than it freed, would take all the time: with a collector that is every call.
static void check_memory(void) {
  static int runs, base_kib;
  if (++runs % SETTLE_RUNS) return;
  lua_gc(vm.L, LUA_GCCOLLECT);
  if (__lsan_do_recoverable_leak_check()) abort();
  int kib = lua_gc(vm.L, LUA_GCCOUNT);
  if (!base_kib) base_kib = kib;
  if (kib - base_kib < GROWTH_KIB) return;
  fprintf(stderr, "the state holds %d KiB after %d runs, it held %d KiB\n", kib, runs, base_kib);
  abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  if (wd_loop_open(&loop) || wd_vm_open(&vm, &loop) || !wd_vm_call(&vm, l_load, NULL)) abort();
  return 0;
}

static void run(const char *bytes, size_t n) {
  struct input input = {bytes, n};
  int64_t began = cpu_ns();
  before = 0;
  if (!wd_vm_call(&vm, l_run, &input)) abort();
  int64_t took = cpu_ns() - began;
  if (took > LONGEST_NS) {
    fprintf(stderr, "a call with %zu bytes took %lld ms of CPU: \"%.64s...\"\n", n, (long long)(took / 1000000), bytes);
    abort();
  }
  check_memory();
}

// Quadratic time shows only on long runs of one thing, which short inputs do not have: some are run again with one piece of theirs many times over. Which
// ones, and which piece, the input itself decides, so that a finding can be run again.
static void run_stretched(const char *bytes, size_t n) {
  static char stretched[STRETCHED];
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < n; i++) hash = (hash ^ (uint8_t)bytes[i]) * 16777619u;
  hash = (hash ^ hash >> 15) * 0x2c1b3c6du;
  size_t piece = 1 + hash / STRETCH_ONE_IN % PIECE;
  if (hash % STRETCH_ONE_IN || n < piece || n > STRETCHED / 2) return;
  size_t at = hash / STRETCH_ONE_IN / PIECE % (n - piece + 1), end = at + (STRETCHED - n) / piece * piece;
  memcpy(stretched, bytes, at);
  for (size_t i = at; i < end; i++) stretched[i] = bytes[at + (i - at) % piece];
  memcpy(stretched + end, bytes + at, n - at);
  run(stretched, end + n - at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lua_sethook(vm.L, on_line, LUA_MASKLINE, 0);
  run((const char *)data, size);
  lua_sethook(vm.L, NULL, 0, 0); // it makes the time of long inputs its own
  run_stretched((const char *)data, size);
  return 0;
}
