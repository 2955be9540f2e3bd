// The list of a sweep: addresses, ranges and names as a user gave them, to addresses. Names are looked up side by side, some at a time.
// Must hold: every entry of the list has its place among the targets, in order; a name that has no address stays there with its error.
#pragma once

#include "probes/sweep.h"
#include "runtime/probe.h"
#include "runtime/resolve.h"

struct wd_sweep_look_up;

struct wd_sweep_list {
  // questions
  struct wd_arena *arena;
  const struct wd_list *texts; // of const char *; must live as long as this
  const struct wd_common_opts *opts;
  int port; // taken where a text has none; negative: texts have no ports
  void (*done)(struct wd_sweep_list *l); // not from within wd_sweep_list_resolve
  // answers
  struct wd_sweep_target *targets;
  uint32_t n;
  bool has_range;
  const char *why; // a target is off, in words; in the arena. NULL: none is
  // inner
  struct wd_loop *loop;
  struct wd_sweep_look_up *first, *last, *next; // names, in order; next: the first that was not asked for
  uint32_t open;
  struct wd_timer soon;
};

// Reads the texts; NULL, or what is wrong with one of them (in the arena).
const char *wd_sweep_list_read(struct wd_sweep_list *l);

// Looks up the names among them, each for at most the timeout of the options.
void wd_sweep_list_resolve(struct wd_loop *loop, struct wd_sweep_list *l);

// `done` is not called any more. No harm when it never started.
void wd_sweep_list_stop(struct wd_sweep_list *l);

// The targets as texts: those of the list, of a range its addresses. A list of strings in the arena; false when memory is out.
bool wd_sweep_list_names(struct wd_sweep_list *l, struct wd_list *out);
