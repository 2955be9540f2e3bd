// A machine without memory, to be preloaded: the Nth allocation from a moment on fails, and those that follow it.
// WADDLE_NO_MEMORY=KIND:NTH:TIMES sets it off in main(); a script does with `package.loadlib(FILE, "luaopen_no_memory")()`:
//   fail(KIND, NTH, TIMES)  from now on, in all threads; KIND is "c" for malloc and its like, "own" for the same without the calls of libraries that
//                           the program has made room for, "lua" for what the Lua state asks for
//   off() -> FAILED, ASKED  all is well again; how many allocations failed, and how many of the kind there were since
//   live() -> BLOCKS        of C's heap that are in use
#include <dlfcn.h>
#include <errno.h>
#include <lauxlib.h>
#include <locale.h>
#include <link.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What the C library's own names stand for, until those that come next are known.
extern void *__libc_malloc(size_t);          // NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
extern void *__libc_calloc(size_t, size_t);  // NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
extern void *__libc_realloc(void *, size_t); // NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
extern void __libc_free(void *);             // NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
extern void *__libc_memalign(size_t, size_t); // NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)

// Programs without Lua are preloaded too.
#pragma weak luaL_checkversion_
#pragma weak luaL_checkinteger
#pragma weak luaL_checklstring
#pragma weak luaL_setfuncs
#pragma weak lua_createtable
#pragma weak lua_pushinteger

enum kind { NONE, C, LUA };

static enum kind kind;
static bool own;
static long nth, times, asked, failed, live;

// Libraries that end the process where they get no memory, and those that tell what is not so: the program asks for what they may need before it
// calls them (memory.h). What the first ask for is always there, what the others ask for only for the kind "own".
static const char *const fragile[] = {"/libldns.so", "/libgmp.so", "/libgnutls.so", "/libhogweed.so", "/libnettle.so",
                                     "/libtasn1.so"}, *const others[] = {"/libcares.so", "/libssl.so", "/libcrypto.so"};
enum { MOST_SPARED = 16 };

static struct spared {
  uintptr_t from, to;
  bool fragile;
} spared[MOST_SPARED];
static int spared_count;

static bool is_named(const char *path, const char *const *names, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (strstr(path, names[i])) return true;
  return false;
}

static int look_at_library(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  (void)data;
  bool is_fragile = is_named(info->dlpi_name, fragile, sizeof(fragile) / sizeof(*fragile));
  if (!is_fragile && !is_named(info->dlpi_name, others, sizeof(others) / sizeof(*others))) return 0;
  for (int k = 0; k < info->dlpi_phnum && spared_count < MOST_SPARED; k++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[k];
    uintptr_t from = info->dlpi_addr + part->p_vaddr;
    if (part->p_type == PT_LOAD && part->p_flags & PF_X) spared[spared_count++] = (struct spared){from, from + part->p_memsz, is_fragile};
  }
  return 0;
}

static bool is_spared(const void *caller) {
  for (int i = 0; i < spared_count; i++)
    if ((uintptr_t)caller >= spared[i].from && (uintptr_t)caller < spared[i].to) return spared[i].fragile || own;
  return false;
}

static bool fails(enum kind of, const void *caller) {
  if (__atomic_load_n(&kind, __ATOMIC_ACQUIRE) != of || is_spared(caller)) return false;
  long now = __atomic_add_fetch(&asked, 1, __ATOMIC_RELAXED);
  if (now < nth || now >= nth + times) return false;
  __atomic_add_fetch(&failed, 1, __ATOMIC_RELAXED);
  errno = ENOMEM;
  return true;
}

static void *counted(void *block) {
  if (block) __atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
  return block;
}

void *malloc(size_t size) {
  return fails(C, __builtin_return_address(0)) ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t n, size_t size) {
  return fails(C, __builtin_return_address(0)) ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *old, size_t size) {
  if (fails(C, __builtin_return_address(0))) return NULL;
  void *block = __libc_realloc(old, size);
  if (!old) counted(block);
  return block;
}

void *aligned_alloc(size_t alignment, size_t size) {
  return fails(C, __builtin_return_address(0)) ? NULL : counted(__libc_memalign(alignment, size));
}

int posix_memalign(void **out, size_t alignment, size_t size) {
  if (fails(C, __builtin_return_address(0))) return ENOMEM;
  *out = counted(__libc_memalign(alignment, size));
  return *out ? 0 : ENOMEM;
}

void free(void *block) {
  if (block) __atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
  __libc_free(block);
}

static void *find(const char *name) {
  return dlsym(RTLD_NEXT, name);
}

static lua_Alloc lua_real;

// Lua counts on blocks that shrink.
static void *lua_failing(void *ud, void *block, size_t old, size_t size) {
  return (size > 0 && (!block || size > old) && fails(LUA, NULL)) ? NULL : lua_real(ud, block, old, size);
}

lua_State *lua_newstate(lua_Alloc f, void *ud) {
  static lua_State *(*real)(lua_Alloc, void *);
  if (!real) real = (lua_State * (*)(lua_Alloc, void *)) find("lua_newstate");
  lua_real = f;
  return real(lua_failing, ud);
}

static void set_off(const char *of, long at, long n) {
  if (!spared_count) dl_iterate_phdr(look_at_library, NULL);
  asked = failed = 0;
  nth = at;
  times = n;
  own = strcmp(of, "own") == 0;
  __atomic_store_n(&kind, strcmp(of, "lua") == 0 ? LUA : C, __ATOMIC_RELEASE);
}

// The first that main() does.
char *setlocale(int category, const char *locale) {
  static char *(*real)(int, const char *);
  if (!real) real = (char *(*)(int, const char *))find("setlocale");
  const char *at = strcmp(program_invocation_short_name, "waddle") == 0 ? getenv("WADDLE_NO_MEMORY") : NULL; // a shell has a main() too
  long n, m;
  char of[4];
  if (at && sscanf(at, "%3[a-z]:%ld:%ld", of, &n, &m) == 3) set_off(of, n, m);
  return real(category, locale);
}

static int l_fail(lua_State *L) {
  set_off(luaL_checkstring(L, 1), (long)luaL_checkinteger(L, 2), (long)luaL_checkinteger(L, 3));
  return 0;
}

static int l_off(lua_State *L) {
  __atomic_store_n(&kind, NONE, __ATOMIC_RELEASE);
  lua_pushinteger(L, failed);
  lua_pushinteger(L, asked);
  return 2;
}

static int l_live(lua_State *L) {
  lua_pushinteger(L, live);
  return 1;
}

int luaopen_no_memory(lua_State *L);
int luaopen_no_memory(lua_State *L) {
  static const luaL_Reg functions[] = {{"fail", l_fail}, {"off", l_off}, {"live", l_live}, {0}};
  luaL_newlib(L, functions);
  return 1;
}
