// The one door: every probe call passes wd_probe_call, which reads the options, starts the probe,
// and turns its C result into a Lua table when the task is resumed. Budgets, sandbox, statistics,
// record and replay hang here.
// A probe is a struct wd_probe and its callbacks; it never sees Lua.
#pragma once

#include "runtime/arena.h"
#include "runtime/desc.h"
#include "runtime/op.h"

struct lua_State;

enum wd_family { WD_FAMILY_ANY, WD_FAMILY_4, WD_FAMILY_6 };
enum wd_cache { WD_CACHE_NONE, WD_CACHE_TTL };

struct wd_resolver_opts {
  const char *server; // "9.9.9.9", "[::1]:5353"; NULL: the system's
  int cache;          // enum wd_cache
};

// Options of every probe; the first member of its option struct.
struct wd_common_opts {
  wd_ns timeout;
  int family; // enum wd_family
  const char *address, *source;
  int64_t tos;
  struct wd_resolver_opts *resolver;
  double planned; // when the run was due, on task.now()'s clock; NaN = now
};

struct wd_quality {
  const char *timestamp_source; // "kernel" or "user"
  wd_ns uncertainty;
  // the door's
  wd_ns sched_lag, loop_lag;
  int8_t cpu_throttled, clock_synchronized;
  wd_ns clock_error;
};

// Result of every probe; the first member of its result struct. The door fills success (from
// error), started_at, and what quality says of every probe; it takes the latency away from a failed
// probe.
struct wd_common_result {
  const char *test_type, *protocol_detail;
  const char *target, *target_host, *target_ip; // strings live in the op's arena
  int64_t target_port;
  int8_t success;
  enum wd_err error;
  const char *error_detail;
  wd_ns latency;
  int64_t started_at;
  struct wd_quality *quality;
};

extern const struct wd_desc wd_resolver_desc, wd_quality_desc;
const char *wd_probe_valid_address(const char *text);

// Those that also a probe of many targets has.
#define WD_COMMON_OPTS_OF_ALL(st, default_timeout, timeout_help)                                                   \
  WD_FIELD(st, common.timeout, "timeout", WD_T_DURATION, .def = (default_timeout), .min = 0.001, .max = 86400,     \
           .unit = "s", .help = (timeout_help)),                                                                   \
    WD_FIELD(st, common.family, "family", WD_T_ENUM, .def = "any", .names = wd_family_names,                       \
             .help = "address family to use"),                                                                     \
    WD_FIELD(st, common.source, "source", WD_T_STR, .min = 1, .max = 64,                                           \
             .help = "local address or interface to send from"),                                                   \
    WD_FIELD(st, common.tos, "tos", WD_T_INT, .min = 0, .max = 255, .help = "type of service / traffic class byte"), \
    WD_FIELD(st, common.resolver, "resolver", WD_T_TABLE, .sub = &wd_resolver_desc,                                \
             .help = "how names are looked up"),                                                                   \
    WD_FIELD(st, common.planned, "planned", WD_T_NUM, .flags = WD_F_HIDDEN,                                        \
             .help = "when the run was due, for quality.sched_lag_ms"),                                            \
    {.name = "labels", .type = WD_T_LUA, .help = "your own values, copied to the result"},                         \
    {.name = "expect", .type = WD_T_LUA, .help = "what makes the probe a success, in place of the protocol's rule"}

#define WD_COMMON_OPTS(st, default_timeout, timeout_help)                                                          \
  WD_FIELD(st, common.address, "address", WD_T_STR, .valid = wd_probe_valid_address,                               \
           .help = "connect to this IP address; the name is not looked up"),                                       \
    WD_COMMON_OPTS_OF_ALL(st, default_timeout, timeout_help)

#define WD_COMMON_RESULT(st)                                                                                       \
  WD_FIELD(st, common.test_type, "test_type", WD_T_STR, .help = "http, tcp, udp, icmp, dns, tls or ssh"),          \
    WD_FIELD(st, common.protocol_detail, "protocol_detail", WD_T_STR, .help = "the protocol as the manager names it"), \
    WD_FIELD(st, common.target, "target", WD_T_STR, .help = "the target as written, credentials removed"),         \
    WD_FIELD(st, common.target_host, "target_host", WD_T_STR, .help = "host name or address of the target"),       \
    WD_FIELD(st, common.target_ip, "target_ip", WD_T_STR, .help = "address that was measured"),                    \
    WD_FIELD(st, common.target_port, "target_port", WD_T_INT, .help = "port of the target"),                       \
    WD_FIELD(st, common.success, "success", WD_T_BOOL, .help = "whether the probe succeeded"),                     \
    WD_FIELD(st, common.error, "error", WD_T_ERR, .help = "why not: a name of the closed list"),                   \
    WD_FIELD(st, common.error_detail, "error_detail", WD_T_STR, .help = "why not, for people"),                    \
    WD_FIELD(st, common.latency, "latency_ms", WD_T_MS, .help = "the protocol's main figure; absent on failure"),  \
    WD_FIELD(st, common.started_at, "started_at", WD_T_TIME, .help = "when it started, RFC 3339 UTC"),             \
    WD_FIELD(st, common.quality, "quality", WD_T_TABLE, .sub = &wd_quality_desc, .help = "how far to trust the number"), \
    {.name = "labels", .type = WD_T_LUA, .help = "your own values"}

extern const char *const wd_family_names[]; // "any" "4" "6"

struct wd_probe_op;

struct wd_probe {
  const char *name; // "tcp.connect": module and function
  const char *help; // one line
  const struct wd_desc *opts, *result;
  size_t size;              // of the probe's op, which begins with struct wd_probe_op
  size_t opts_at, result_at; // places of the two structs in it
  bool own_timeout;         // the timeout is a packet's: the door sets no deadline
  // Cross-field checks after the options were read: NULL, or what is wrong (it raises). May be NULL.
  const char *(*check)(struct wd_probe_op *op);
  // Starts; must end in wd_probe_done, now or later.
  void (*start)(struct wd_probe_op *op);
  // Lets go of sockets, timers, look-ups, at once. Called when done and when cancelled, maybe twice.
  void (*stop)(struct wd_probe_op *op);
  // The deadline passed: fill in what is known and call wd_probe_done. NULL: plain WD_E_TIMEOUT.
  void (*expire)(struct wd_probe_op *op);
  // Frees what the arena does not hold. May be NULL.
  void (*destroy)(struct wd_probe_op *op);
};

struct wd_probe_op {
  struct wd_op op;
  const struct wd_probe *probe;
  struct wd_arena arena; // options, result strings and lists
  int64_t started_us;    // wall clock
  struct wd_timer hold;  // until the policy has room for what it sends; not begun before
  bool begun;
  struct wd_quality quality; // of a probe that says nothing of its figure
};

static inline struct wd_common_opts *wd_probe_opts(struct wd_probe_op *p) {
  return (struct wd_common_opts *)(void *)((char *)p + p->probe->opts_at);
}
static inline struct wd_common_result *wd_probe_result(struct wd_probe_op *p) {
  return (struct wd_common_result *)(void *)((char *)p + p->probe->result_at);
}

// Ends the probe: err WD_OK is success. `detail` may be NULL. The second and later calls do nothing.
void wd_probe_done(struct wd_probe_op *p, enum wd_err err, const char *detail, ...)
  __attribute__((format(printf, 3, 4)));

// Moves the deadline by the worst delay of our own loop since the call, which was no time of the target's. To be called when something new
// is sent or was heard in time: what has been under way until now is judged by the deadline as it is.
void wd_probe_give_back(struct wd_probe_op *p);

// Ready-made `start` of the door: reads the arguments at 1.. of a Lua call of the probe. [-n, +1, e]
int wd_probe_call(struct lua_State *L, const struct wd_probe *probe);

// Reads and checks arguments as wd_probe_call does, and runs nothing. [-0, +0, e]
void wd_probe_check(struct lua_State *L, const struct wd_probe *probe);

// The probe of that name ("tcp.connect"), or NULL.
const struct wd_probe *wd_probe_find(const char *name);

// Calls of each probe so far, for statistics; and the packets of all sweeps: to be sent (without those sent again), sent, answered in time.
struct wd_probe_count {
  uint64_t started, failed, under_way;
  uint64_t sweep_packets, sweep_sent, sweep_received;
};
extern struct wd_probe_count wd_probe_count;

extern const struct wd_probe *const wd_probes[]; // in probes/probes.c; ends with NULL
