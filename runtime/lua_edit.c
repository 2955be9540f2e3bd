// waddle.core.edit: one line of input from a terminal, with history and completion by libedit, on
// the loop. Completion only looks into a list of words that Lua handed over before, because a
// callback of libedit must not run Lua.
#include <editline/readline.h>
#include <histedit.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "runtime/log.h"
#include "runtime/lua_modules.h"
#include "runtime/task.h"
#include "runtime/watch.h"

struct edit_op {
  struct wd_op op;
  struct wd_watch watch;
  char *prompt, *line;
  bool end, installed;
};

static struct edit_op *editing; // libedit itself exists once a process
static char **words;            // sorted, ends with NULL
static bool ready;

// Columns of a UTF-8 text, counting each character once: enough to find the line the cursor is on.
static size_t columns(const char *text, size_t len) {
  size_t n = 0;
  for (size_t i = 0; i < len; i++) n += ((unsigned char)text[i] & 0xc0) != 0x80;
  return n;
}

// Puts text where the prompt stands and the prompt with its half-typed line below it.
static void print_above(const char *text, size_t len) {
  struct winsize size = {.ws_col = 80};
  bool shown = editing && editing->installed;
  if (shown) {
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    size_t before = columns(editing->prompt, strlen(editing->prompt)) + columns(rl_line_buffer, (size_t)rl_point);
    size_t rows = size.ws_col ? before / size.ws_col : 0;
    if (rows) printf("\r\033[%zuA\033[J", rows);
    else fputs("\r\033[J", stdout);
  }
  fwrite(text, 1, len, stdout);
  if (len && text[len - 1] != '\n') fputc('\n', stdout);
  fflush(stdout);
  if (shown) rl_forced_update_display();
}

static void log_above(const char *line) {
  print_above(line, strlen(line));
}

static char *next_word(const char *prefix, int again) {
  static size_t at;
  if (!again) at = 0;
  size_t n = strlen(prefix);
  while (words && words[at]) {
    const char *word = words[at++];
    if (strncmp(word, prefix, n) == 0) return strdup(word);
  }
  return NULL;
}

static char **complete(const char *text, int start, int end) {
  (void)start;
  (void)end;
  rl_attempted_completion_over = 1;
  return rl_completion_matches(text, next_word);
}

static void on_line(char *line) {
  struct edit_op *e = editing;
  rl_callback_handler_remove();
  e->installed = false;
  e->line = line;
  e->end = line == NULL;
  wd_op_complete(&e->op, WD_OK);
}

static void on_input(struct wd_watch *w, uint32_t events) {
  (void)w;
  // Of a terminal that is gone libedit would read nothing, again and again.
  if (events & (EPOLLHUP | EPOLLERR))
    on_line(NULL);
  else
    rl_callback_read_char();
}

static void stop(struct wd_op *op) {
  struct edit_op *e = (struct edit_op *)op;
  wd_watch_stop(&e->watch);
  if (e->installed) { // ended from outside: leave the terminal as it was
    rl_callback_handler_remove();
    e->installed = false;
    fputs("\n", stdout);
    fflush(stdout);
  }
  if (editing == e) editing = NULL;
}

static void destroy(struct wd_op *op) {
  struct edit_op *e = (struct edit_op *)op;
  free(e->prompt);
  free(e->line);
}

static const struct wd_op_class edit_class = {.name = "edit", .stop = stop, .destroy = destroy};

static int k_line(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  struct edit_op *e = (struct edit_op *)ctx;
  if (e->line)
    lua_pushstring(L, e->line);
  else
    lua_pushnil(L);
  wd_op_release(&e->op);
  return 1;
}

static void prepare(void) {
  if (ready) return;
  ready = true;
  rl_readline_name = "waddle";
  rl_catch_signals = 0;
  rl_initialize();
  using_history();
  stifle_history(1000);
  rl_attempted_completion_function = complete;
  rl_completion_append_character = '\0';
  static char breaks[] = " \t\n\"'`@$><=;|&{}()[],+-*/%^#~";
  rl_completer_word_break_characters = breaks;
  // libedit's incremental search garbles the line in callback mode
  rl_parse_and_bind("bind ^R ed-search-prev-history");
}

// line(prompt) -> text | nil at the end of input. One at a time.
static int l_line(lua_State *L) {
  const char *prompt = luaL_checkstring(L, 1);
  wd_task_check(L, "edit.line");
  if (editing) return wd_vm_error(L, "edit.line: somebody edits a line already");
  prepare();
  struct edit_op *e = wd_op_new(L, &edit_class, sizeof(*e));
  e->watch.fd = -1;
  e->watch.on_event = on_input;
  e->prompt = strdup(prompt);
  wd_op_wait(L, &e->op);
  int rc = wd_watch_start(wd_vm_of(L)->loop, &e->watch, STDIN_FILENO, EPOLLIN);
  if (rc) return wd_vm_error(L, "edit.line: standard input is no terminal");
  editing = e;
  e->installed = true;
  rl_callback_handler_install(e->prompt, on_line);
  fflush(stdout);
  return lua_yieldk(L, 0, (lua_KContext)e, k_line);
}

// above(text): prints above the prompt, or plainly where no line is edited.
static int l_above(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  print_above(text, n);
  return 0;
}

// log_above(): from now on log lines are printed above the prompt.
static int l_log_above(lua_State *L) {
  (void)L;
  wd_log_set_sink(log_above);
  return 0;
}

static void free_words(void) {
  for (size_t i = 0; words && words[i]; i++) free(words[i]);
  free(words);
  words = NULL;
}

// words(sorted list): what completion offers from now on.
static int l_words(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  size_t n = lua_rawlen(L, 1);
  free_words();
  words = calloc(n + 1, sizeof(*words));
  if (!words) return luaL_error(L, "out of memory");
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    words[i] = strdup(lua_tostring(L, -1) ? lua_tostring(L, -1) : "");
    lua_pop(L, 1);
  }
  return 0;
}

// remember(line [, file]): adds to the history, and to its file.
static int l_remember(lua_State *L) {
  prepare();
  add_history(luaL_checkstring(L, 1));
  if (!lua_isnoneornil(L, 2)) write_history(luaL_checkstring(L, 2));
  return 0;
}

// recall(file): reads the history of earlier sessions.
static int l_recall(lua_State *L) {
  prepare();
  read_history(luaL_checkstring(L, 1));
  return 0;
}

static int l_gc(lua_State *L) {
  (void)L;
  wd_log_set_sink(NULL);
  free_words();
  return 0;
}

#define TEXT_OF(number) #number
#define VERSION(major, minor) TEXT_OF(major) "." TEXT_OF(minor)

// libedit tells its version at build time alone.
const char *wd_edit_library(void) {
  return VERSION(LIBEDIT_MAJOR, LIBEDIT_MINOR);
}

int wd_open_edit(lua_State *L) {
  static const luaL_Reg functions[] = {{"line", l_line},         {"above", l_above},   {"log_above", l_log_above}, {"words", l_words},
                                       {"remember", l_remember}, {"recall", l_recall}, {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, l_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  return 1;
}
