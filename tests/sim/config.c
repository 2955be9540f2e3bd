// The configuration, README.md has its grammar: lines of one declaration each, # begins a comment.
#include "sim.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 512 };

// The words are those of waddle's results.
const struct complaint complaints[] = {
    {"network_unreachable", {3, 0}, {1, 0}},
    {"host_unreachable", {3, 1}, {1, 3}},
    {"admin_prohibited", {3, 13}, {1, 1}},
    {"connection_refused", {3, 3}, {1, 4}},
    {"ttl_exceeded", {11, 0}, {3, 0}},
    {"message_too_big", {3, 4}, {2, 0}},
    {NULL, {0, 0}, {0, 0}},
};
const struct complaint *const port_unreachable = &complaints[3], *const ttl_exceeded = &complaints[4],
                              *const message_too_big = &complaints[5];

static const char *file_name;
static unsigned line_number;

__attribute__((noreturn, format(printf, 1, 2))) static void wrong(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "%s:%u: ", file_name, line_number);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  exit(2);
}

// ---- values ----

static double number(const char *text, const char **rest) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || !(value >= 0)) wrong("expected a number, got '%s'", text);
  *rest = end;
  return value;
}

static void read_time(void *to, const char *text) {
  static const struct {
    const char *unit;
    double ns;
  } units[] = {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
  const char *unit;
  double value = number(text, &unit);
  for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
    if (strcmp(unit, units[i].unit) == 0) {
      *(int64_t *)to = (int64_t)(value * units[i].ns);
      return;
    }
  wrong("expected a time with us, ms or s, got '%s'", text);
}

static void read_count(void *to, const char *text) {
  const char *rest;
  *(int64_t *)to = (int64_t)number(text, &rest);
  if (*rest) wrong("expected a whole number, got '%s'", text);
}

static void read_hops(void *to, const char *text) {
  read_count(to, text);
  if (*(int64_t *)to < 1 || *(int64_t *)to > 64) wrong("expected 1 to 64 hops, got '%s'", text);
}

static void read_address(void *to, const char *text) {
  if (!address_read(to, text)) wrong("expected an address, got '%s'", text);
}

static void read_pattern(void *to, const char *text) {
  struct pattern *p = to;
  const char *rest;
  if (strncmp(text, "1/", 2) == 0) {
    *p = (struct pattern){.kind = PATTERN_EVERY, .every = (unsigned)number(text + 2, &rest)};
    if (*rest || p->every == 0) wrong("expected 1/N, got '%s'", text);
  } else if (strchr(text, '%')) {
    *p = (struct pattern){.kind = PATTERN_CHANCE, .chance = number(text, &rest) / 100};
    if (strcmp(rest, "%") != 0) wrong("expected a percentage, got '%s'", text);
  } else {
    *p = (struct pattern){.kind = PATTERN_BITS};
    if (!*text || strlen(text) >= sizeof(p->bits) || text[strspn(text, "01")])
      wrong("expected a pattern like 0100, 1/3 or 5%%, got '%s'", text);
    strcpy(p->bits, text);
  }
}

// PATTERN:TIME
static void read_hold(void *to, const char *text) {
  struct rule *r = to;
  char pattern[LINE_MAX_BYTES];
  const char *colon = strchr(text, ':');
  if (!colon) wrong("expected a pattern, a colon and a time, got '%s'", text);
  snprintf(pattern, sizeof(pattern), "%.*s", (int)(colon - text), text);
  read_pattern(&r->hold, pattern);
  read_time(&r->hold_by, colon + 1);
}

// NUMBER, or NUMBER:BURST
static void read_rate(void *to, const char *text) {
  struct rule *r = to;
  const char *rest;
  r->rate = number(text, &rest);
  r->burst = 1;
  if (*rest == ':') r->burst = number(rest + 1, &rest);
  if (*rest || r->rate <= 0 || r->burst < 1) wrong("expected a rate and perhaps a burst, like 100:10, got '%s'", text);
}

static void read_says(void *to, const char *text) {
  const struct complaint *c = complaints;
  while (c->name && strcmp(c->name, text) != 0) c++;
  if (!c->name) wrong("expected an error like host_unreachable, got '%s'", text);
  *(const struct complaint **)to = c;
}

// all, none, or numbers with commas
static void read_ports(void *to, const char *text) {
  struct ports *p = to;
  *p = (struct ports){.all = strcmp(text, "all") == 0};
  if (p->all || strcmp(text, "none") == 0) return;
  for (const char *rest = text;; rest++) {
    if (p->count == sizeof(p->list) / sizeof(*p->list)) wrong("too many ports in '%s'", text);
    p->list[p->count++] = (uint16_t)number(rest, &rest);
    if (!*rest) return;
    if (*rest != ',') wrong("expected all, none or ports with commas, got '%s'", text);
  }
}

static void read_closed(void *to, const char *text) {
  *(bool *)to = strcmp(text, "silent") == 0;
  if (!*(bool *)to && strcmp(text, "refused") != 0) wrong("expected silent or refused, got '%s'", text);
}

// ---- lines ----

#define AT(member) offsetof(struct rule, member)
static const struct option {
  const char *name;
  void (*read)(void *to, const char *text);
  size_t at;
} options[] = {
    {"delay", read_time, AT(delay)},
    {"jitter", read_time, AT(jitter)},
    {"loss", read_pattern, AT(loss)},
    {"twice", read_pattern, AT(twice)},
    {"hold", read_hold, 0},
    {"rate", read_rate, 0},
    {"hops", read_hops, AT(hops)},
    {"via", read_address, AT(via)},
    {"mtu", read_count, AT(mtu)},
    {"blackhole", read_count, AT(blackhole)},
    {"quote", read_count, AT(quote)},
    {"says", read_says, AT(says)},
    {"udp", read_ports, AT(udp)},
    {"dns", read_ports, AT(dns)},
    {"tcp", read_ports, AT(tcp)},
    {"closed", read_closed, AT(quiet)},
    {"answer", read_address, AT(answer)},
};
#undef AT

static void read_net(struct in6_addr *net, int *bits, const char *text) {
  char address[ADDRESS_TEXT];
  const char *slash = strchr(text, '/'), *rest;
  snprintf(address, sizeof(address), "%.*s", slash ? (int)(slash - text) : (int)strlen(text), text);
  read_address(net, address);
  int base = is_v4(net) ? 96 : 0;
  *bits = slash ? base + (int)number(slash + 1, &rest) : 128;
  if (*bits > 128 || (slash && *rest)) wrong("expected an address and a length, got '%s'", text);
}

static void read_option(struct rule *r, char *word) {
  char *value = strchr(word, '=');
  if (!value) wrong("expected NAME=VALUE, got '%s'", word);
  *value++ = 0;
  for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
    if (strcmp(options[i].name, word) == 0) {
      options[i].read((char *)r + options[i].at, value);
      return;
    }
  wrong("no option '%s'", word);
}

static void read_rule(struct config *c, const char *net, char **rest) {
  c->rules = realloc(c->rules, (c->rule_count + 1) * sizeof(*c->rules));
  if (!c->rules) abort();
  struct rule *r = &c->rules[c->rule_count++];
  *r = (struct rule){
      .hops = 1, .udp = {.count = 1, .list = {2000}}, .dns = {.count = 1, .list = {53}}, .tcp = {.count = 1, .list = {80}}};
  read_net(&r->net, &r->bits, net);
  read_address(&r->via, is_v4(&r->net) ? "10.77.255.0" : "fd77::ff00");
  read_address(&r->answer, "192.0.2.1");
  for (char *word; (word = strtok_r(NULL, " \t\n", rest));) read_option(r, word);
}

static void read_line(struct config *c, char *line) {
  char *rest, *word;
  line[strcspn(line, "#")] = 0;
  word = strtok_r(line, " \t\n", &rest);
  if (!word) return;
  if (strchr("0123456789", *word) || strchr(word, ':')) {
    read_rule(c, word, &rest);
    return;
  }
  char *value = strtok_r(NULL, " \t\n", &rest);
  if (!value || strtok_r(NULL, " \t\n", &rest)) wrong("expected one value behind '%s'", word);
  if (strcmp(word, "device") == 0 && strlen(value) < sizeof(c->device)) {
    strcpy(c->device, value);
  } else if (strcmp(word, "mtu") == 0) {
    read_count(&c->mtu, value);
  } else if (strcmp(word, "seed") == 0) {
    read_count(&c->seed, value);
  } else if (strcmp(word, "address") == 0 && c->own_count < sizeof(c->own) / sizeof(*c->own)) {
    struct own *own = &c->own[c->own_count++];
    read_net(&own->address, &own->bits, value);
  } else {
    wrong("no declaration '%s %s'", word, value);
  }
}

void config_read(struct config *c, const char *path) {
  char line[LINE_MAX_BYTES];
  *c = (struct config){.device = "sim%d", .mtu = 1500, .seed = 1};
  FILE *file = fopen(path, "re");
  file_name = path;
  if (!file) {
    perror(path);
    exit(2);
  }
  for (line_number = 1; fgets(line, sizeof(line), file); line_number++) read_line(c, line);
  fclose(file);
  if (c->own_count == 0) {
    c->own_count = 2;
    read_net(&c->own[0].address, &c->own[0].bits, "10.77.0.1/16");
    read_net(&c->own[1].address, &c->own[1].bits, "fd77::1/64");
  }
}

static bool covers(const struct rule *r, const struct in6_addr *a) {
  int bytes = r->bits / 8, rest = r->bits % 8;
  if (memcmp(&r->net, a, (size_t)bytes) != 0) return false;
  return rest == 0 || (r->net.s6_addr[bytes] ^ a->s6_addr[bytes]) >> (8 - rest) == 0;
}

const struct rule *rule_for(const struct config *c, const struct in6_addr *address) {
  const struct rule *best = NULL;
  for (unsigned i = 0; i < c->rule_count; i++)
    if (covers(&c->rules[i], address) && (!best || c->rules[i].bits >= best->bits)) best = &c->rules[i];
  return best;
}
