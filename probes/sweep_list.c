// See sweep_list.h.
#include "probes/sweep_list.h"

#include <stdio.h>

#include "runtime/addr_range.h"

enum { AT_ONCE = 64, WRONG = 400 };

struct wd_sweep_look_up {
  struct wd_sweep_list *list;
  struct wd_resolve resolve;
  struct wd_timer deadline;
  uint32_t target;
  struct wd_sweep_look_up *after;
};

static const char *text_of(const struct wd_sweep_list *l, size_t i) {
  return ((const char *const *)l->texts->items)[i];
}

// How many targets an entry is: 1, or a range's addresses; 0 with what is wrong.
static uint32_t count(const struct wd_sweep_list *l, const char *text, struct wd_addr_range *range, char *wrong) {
  if (!wd_addr_range_is(text)) return 1;
  return wd_addr_range_parse(range, text, l->port, wrong, WRONG) ? range->count : 0;
}

static void turn_off(struct wd_sweep_list *l, struct wd_sweep_target *target, enum wd_err err, const char *why) {
  target->off = true;
  target->err = (uint8_t)err;
  if (!l->why) l->why = wd_arena_strdup(l->arena, why);
}

// Takes in a target's address, unless the options leave it out.
static void admit(struct wd_sweep_list *l, struct wd_sweep_target *target, const struct wd_addr *to) {
  int family = wd_resolve_family(l->opts);
  target->to = *to;
  wd_addr_specify(&target->to);
  if (family == AF_UNSPEC || family == wd_addr_family(to)) return;
  turn_off(l, target, WD_E_LOCAL, wd_addr_family(to) == AF_INET ? "an IPv4 address, but the probe may only use IPv6" : "an IPv6 address, but the probe may only use IPv4");
}

static bool add_single(struct wd_sweep_list *l, struct wd_sweep_target *target, const char *text, char *wrong) {
  struct wd_hostport at;
  if (!wd_hostport_split(&at, text, l->port < 0 ? WD_PORT_NONE : l->port, wrong, WRONG)) return false;
  if (at.literal) {
    admit(l, target, &at.addr);
    return true;
  }
  struct wd_sweep_look_up *u = wd_arena_alloc(l->arena, sizeof(*u));
  char *name = wd_arena_strdup(l->arena, at.host);
  if (!u || !name) {
    snprintf(wrong, WRONG, "out of memory");
    return false;
  }
  u->list = l;
  u->target = (uint32_t)(target - l->targets);
  u->resolve.name = name;
  u->resolve.port = at.port;
  *(l->last ? &l->last->after : &l->first) = u;
  l->last = u;
  return true;
}

const char *wd_sweep_list_read(struct wd_sweep_list *l) {
  struct wd_addr_range range = {0};
  char *wrong = wd_arena_alloc(l->arena, WRONG);
  uint64_t n = 0;
  if (!wrong) return "out of memory";
  for (size_t i = 0; i < l->texts->n; i++) {
    uint32_t some = count(l, text_of(l, i), &range, wrong);
    if (some == 0) return wrong;
    l->has_range = l->has_range || wd_addr_range_is(text_of(l, i));
    n += some;
  }
  if (n == 0) return "field 'targets': expected at least one target";
  if (n > WD_SWEEP_SLOTS) return "field 'targets': more than 16777216 addresses";
  l->targets = wd_arena_array(l->arena, n, sizeof(*l->targets));
  if (!l->targets) return "out of memory";
  for (size_t i = 0; i < l->texts->n; i++) {
    const char *text = text_of(l, i);
    if (!wd_addr_range_is(text)) {
      if (!add_single(l, &l->targets[l->n++], text, wrong)) return wrong;
      continue;
    }
    if (!count(l, text, &range, wrong)) return wrong;
    for (uint32_t k = 0; k < range.count; k++) {
      struct wd_addr to = wd_addr_range_nth(&range, k);
      admit(l, &l->targets[l->n++], &to);
    }
  }
  return NULL;
}

// ---- names ----

static void look_up_more(struct wd_sweep_list *l);

static void settle(struct wd_sweep_look_up *u, enum wd_err err, const char *why) {
  struct wd_sweep_list *l = u->list;
  struct wd_sweep_target *target = &l->targets[u->target];
  wd_timer_stop(&l->loop->timers, &u->deadline);
  struct wd_addr to = {0};
  if (!err && !wd_addr_from_sockaddr(&to, (const struct sockaddr *)&u->resolve.addresses[0].sa, u->resolve.addresses[0].len))
    err = WD_E_LOCAL, why = "an address of neither IPv4 nor IPv6";
  if (err)
    turn_off(l, target, err, why);
  else
    admit(l, target, &to);
  wd_resolve_clear(&u->resolve);
  l->open--;
  look_up_more(l);
}

static void resolved(struct wd_resolve *r) {
  settle(WD_CONTAINER(r, struct wd_sweep_look_up, resolve), r->err, r->detail);
}

static void too_late(struct wd_timer *t) {
  settle(WD_CONTAINER(t, struct wd_sweep_look_up, deadline), WD_E_DNS_TIMEOUT, "the name was not looked up within the timeout");
}

static void look_up_more(struct wd_sweep_list *l) {
  while (l->open < AT_ONCE && l->next) {
    struct wd_sweep_look_up *u = l->next;
    l->next = u->after;
    u->deadline.fire = too_late;
    u->resolve.opts = l->opts;
    u->resolve.done = resolved;
    l->open++;
    wd_loop_arm(l->loop, &u->deadline, l->opts->timeout);
    wd_resolve_start(l->loop, &u->resolve);
  }
  if (l->open == 0) wd_loop_arm(l->loop, &l->soon, 0);
}

static void all_known(struct wd_timer *t) {
  struct wd_sweep_list *l = WD_CONTAINER(t, struct wd_sweep_list, soon);
  l->done(l);
}

void wd_sweep_list_resolve(struct wd_loop *loop, struct wd_sweep_list *l) {
  l->loop = loop;
  l->soon.fire = all_known;
  l->next = l->first;
  look_up_more(l);
}

void wd_sweep_list_stop(struct wd_sweep_list *l) {
  if (!l->loop) return;
  wd_timer_stop(&l->loop->timers, &l->soon);
  for (struct wd_sweep_look_up *u = l->first; u != l->next; u = u->after) {
    wd_timer_stop(&l->loop->timers, &u->deadline);
    wd_resolve_clear(&u->resolve);
  }
}

bool wd_sweep_list_names(struct wd_sweep_list *l, struct wd_list *out) {
  char text[WD_ADDR_TEXT];
  *out = *l->texts;
  out->given = true;
  if (!l->has_range) return true;
  const char **names = wd_arena_array(l->arena, l->n, sizeof(*names));
  struct wd_addr_range range;
  char wrong[WRONG];
  uint32_t n = 0;
  for (size_t i = 0; names && i < l->texts->n; i++) {
    uint32_t some = wd_addr_range_is(text_of(l, i)) ? count(l, text_of(l, i), &range, wrong) : 0;
    if (some == 0) names[n++] = text_of(l, i);
    for (uint32_t end = n + some; n < end; n++) {
      const struct wd_addr *to = &l->targets[n].to;
      names[n] = wd_arena_strdup(l->arena, l->port < 0 ? wd_addr_format(to, text) : wd_addr_format_port(to, text));
      if (!names[n]) return false;
    }
  }
  out->items = names;
  out->n = n;
  return names != NULL;
}
