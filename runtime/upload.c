// The state machine of delivery. See upload.h for what must hold.
#include "runtime/upload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/text.h"

// So many answers in a row that stored nothing make the manager suspect rather than the rows: from then
// on they are tried one by one with growing pauses, so that a wrong address which answers 400 or 500
// to everything cannot empty the queue.
enum { MOST_ODD = 16 };

enum { SHOWN_OF_ANSWER = 160, READ_OF_ANSWER = 2048 }; // bytes of an answer's body in a message, and that are looked at for one

static const wd_ns blocked_retry = 300 * WD_S;
static const wd_ns longest_backoff = 3700 * WD_S; // an hour that a manager may ask for, and what is added to it

static const char *const state_names[] = {"ok", "backoff", "blocked", NULL};

static const struct wd_field status_fields[] = {
    WD_FIELD(struct wd_upload_status, state, "state", WD_T_ENUM, .names = state_names,
             .help = "ok; backoff: waiting for a fault to pass; blocked: address or credentials are wrong"),
    WD_FIELD(struct wd_upload_status, queued, "queued", WD_T_INT, .help = "results that wait"),
    WD_FIELD(struct wd_upload_status, in_flight, "in_flight", WD_T_INT, .help = "results being sent"),
    WD_FIELD(struct wd_upload_status, sent, "sent", WD_T_INT, .help = "results the manager has stored"),
    WD_FIELD(struct wd_upload_status, retried, "retried", WD_T_INT, .help = "sends of results that had been sent before"),
    WD_FIELD(struct wd_upload_status, rejected, "rejected", WD_T_INT, .help = "results the manager refused for good, set aside"),
    WD_FIELD(struct wd_upload_status, dropped, "dropped", WD_T_INT,
             .help = "results that found the queue full, gave way to newer ones or became too old"),
    WD_FIELD(struct wd_upload_status, aside, "quarantined", WD_T_INT,
             .help = "results refused for good that are kept for a look at them"),
    WD_FIELD(struct wd_upload_status, oldest_s, "oldest_s", WD_T_NUM, .unit = "s",
             .help = "age of the oldest that is not delivered"),
    WD_FIELD(struct wd_upload_status, last_error, "last_error", WD_T_STR, .help = "what the last failed try met"),
    WD_FIELD(struct wd_upload_status, spool, "spool", WD_T_STR, .help = "the file that results wait in; absent: in memory"),
    WD_FIELD(struct wd_upload_status, spool_error, "spool_error", WD_T_STR,
             .help = "why results are not in that file now; absent: they are"),
    {0},
};

const struct wd_desc wd_upload_status_desc = {"upload.status", status_fields, sizeof(struct wd_upload_status)};

static void pump(struct wd_upload *u);

static uint64_t random64(void) {
  uint64_t value = 0;
  if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != sizeof(value))
    value = (uint64_t)wd_clock_real() * UINT64_C(0x9e3779b97f4a7c15);
  return value;
}

int64_t wd_upload_left(struct wd_upload *u) {
  struct wd_store_counts counts;
  if (u->closed) return u->left_behind;
  wd_store_counts(u->store, wd_clock_now(), &counts);
  return counts.rows;
}

// Whether nothing is left, as far as that is known by now.
static bool is_empty(struct wd_upload *u) {
  struct wd_store_counts counts;
  wd_store_counts(u->store, wd_clock_now(), &counts);
  return counts.rows == 0 && !counts.opening;
}

static void end_flushes(struct wd_upload *u) {
  while (u->flushes) {
    struct wd_upload_flush *flush = u->flushes;
    wd_upload_unflush(u, flush);
    flush->done(flush);
  }
}

// The beginning of an answer's body for people, without secrets.
static void show(const struct wd_upload *u, const struct wd_upload_call *call, char *out, size_t room) {
  char plain[READ_OF_ANSWER];
  size_t n = call->content_len < sizeof(plain) ? call->content_len : sizeof(plain);
  memcpy(plain, call->content, n);
  wd_auth_mask(&u->auth, plain, n);
  wd_text_escape(out, room, plain, n);
}

static void note(struct wd_upload *u, const struct wd_upload_call *call, const char *why) {
  const char *what = call->route == WD_ROUTE_LOGIN ? "login " : "";
  char shown[SHOWN_OF_ANSWER] = "";
  if (call->status == 0) {
    snprintf(u->last_error, sizeof(u->last_error), "%s%s", what, call->fault);
    return;
  }
  if (!why && call->content_len) {
    show(u, call, shown, sizeof(shown));
    why = shown;
  }
  snprintf(u->last_error, sizeof(u->last_error), "%sanswered %" PRId64 "%s%s", what, call->status, why ? ": " : "",
           why ? why : "");
}

// What the next process has to know, in case this one ends.
static void keep(struct wd_upload *u) {
  struct wd_store_memo memo = {.state = u->state, .faults = u->faults, .odd = u->odd, .retry_at = u->retry_at};
  snprintf(memo.where, sizeof(memo.where), "%s", u->where);
  snprintf(memo.last_error, sizeof(memo.last_error), "%s", u->last_error);
  wd_store_keep(u->store, &memo);
}

static void recovered(struct wd_upload *u) {
  if (u->state == WD_UPLOAD_OK) return;
  wd_log(WD_LOG_INFO, "upload: %s takes results again, %" PRId64 " wait", u->where, wd_upload_left(u));
  u->state = WD_UPLOAD_OK;
  u->faults = 0;
  keep(u);
}

// Something that will pass: wait, then try with a single row.
static void back_off(struct wd_upload *u, wd_ns asked) {
  wd_ns wait = wd_upload_backoff(asked == WD_NONE ? ++u->faults : 1, random64());
  u->retry_at = wd_clock_now() + wait + (asked == WD_NONE ? 0 : asked);
  u->epoch++;
  bool new = u->state == WD_UPLOAD_OK;
  if (new) u->state = WD_UPLOAD_BACKOFF;
  keep(u);
  if (new)
    wd_log(WD_LOG_WARNING, "upload: %s: %s; %" PRId64 " results wait and are tried again", u->where, u->last_error,
           wd_upload_left(u));
}

// Address or credentials are wrong: keep everything, and look rarely whether somebody has mended it.
static void block(struct wd_upload *u) {
  u->retry_at = wd_clock_now() + blocked_retry - blocked_retry / 10 + (wd_ns)(random64() % (uint64_t)(blocked_retry / 5));
  u->epoch++;
  if (u->state != WD_UPLOAD_STOPPED)
    wd_log(WD_LOG_ERROR,
           "upload: blocked: %s: %s; check the manager's address and the credentials; nothing is thrown away, %" PRId64
           " results wait, the next try is in about 5 minutes",
           u->where, u->last_error, wd_upload_left(u));
  u->state = WD_UPLOAD_STOPPED;
  keep(u);
  wd_auth_forget(&u->auth);
  end_flushes(u);
}

static void refuse(struct wd_upload *u, struct wd_row *row, const struct wd_upload_call *call, bool fresh) {
  char answer[WD_STORE_ANSWER_LEN];
  show(u, call, answer, sizeof(answer));
  wd_log(WD_LOG_WARNING, "upload: the manager will not take result %s, it is set aside: %s", row->key, u->last_error);
  u->rejected++;
  wd_store_set_aside(u->store, row, call->status, answer);
  if (!fresh) return;
  u->odd++;
  if (u->odd >= MOST_ODD) {
    back_off(u, WD_NONE);
  } else {
    recovered(u);
    keep(u);
  }
}

// A 500 may mean this row or the manager: the row waits alone, until many of them speak against the manager.
static void doubt(struct wd_upload *u, struct wd_row *row, const struct wd_upload_call *call, wd_ns asked, bool fresh) {
  if (++row->doubts >= WD_UPLOAD_DOUBTS) {
    refuse(u, row, call, fresh);
    return;
  }
  row->not_before = wd_clock_now() + wd_upload_backoff(row->doubts, random64()) + (asked == WD_NONE ? 0 : asked);
  wd_store_put_back(u->store, row);
  if (fresh && (++u->odd >= MOST_ODD || u->state != WD_UPLOAD_OK)) back_off(u, WD_NONE);
}

static void take_answer(struct wd_upload *u, struct wd_upload_slot *slot, struct wd_row *row) {
  const struct wd_upload_call *call = &slot->call;
  bool fresh = slot->epoch == u->epoch;
  enum wd_upload_verdict verdict = wd_upload_judge(call->status);
  wd_ns asked = wd_upload_retry_after(call->retry_after, wd_clock_wall_us());
  if (verdict == WD_UPLOAD_STORED) {
    wd_auth_stored(&u->auth, slot->generation);
    wd_store_remove(u->store, row);
    u->sent++;
    if (u->odd) {
      u->odd = 0;
      keep(u);
    }
    if (fresh) recovered(u);
    return;
  }
  row->tries++;
  row->not_before = 0;
  note(u, call, NULL);
  if (verdict == WD_UPLOAD_REFUSED) {
    refuse(u, row, call, fresh);
    return;
  }
  if (verdict == WD_UPLOAD_DOUBT) {
    doubt(u, row, call, asked, fresh);
    return;
  }
  // What it says of the manager was known already; but nobody is kept from asking for more patience.
  if (!fresh) {
    wd_store_put_back(u->store, row);
    if (asked != WD_NONE && wd_clock_now() + asked > u->retry_at) u->retry_at = wd_clock_now() + asked;
    return;
  }
  if (verdict == WD_UPLOAD_FAULT) {
    wd_store_put_back(u->store, row);
    back_off(u, asked);
  } else if (verdict == WD_UPLOAD_DENIED && wd_auth_denied(&u->auth, slot->generation, row->id) != WD_AUTH_WRONG) {
    wd_store_put_back(u->store, row);
  } else {
    // The next try is made with another row, if there is one: it could be this one's content that a
    // filter on the way does not like.
    block(u);
    row->not_before = u->retry_at + WD_S;
    wd_store_put_back(u->store, row);
  }
}

static void on_row_done(struct wd_upload_call *call) {
  struct wd_upload_slot *slot = WD_CONTAINER(call, struct wd_upload_slot, call);
  struct wd_row *row = slot->row;
  slot->row = NULL;
  slot->upload->in_flight--;
  take_answer(slot->upload, slot, row);
  pump(slot->upload);
}

static void on_login_done(struct wd_upload_call *call) {
  struct wd_upload *u = WD_CONTAINER(call, struct wd_upload, login);
  const char *why = NULL;
  u->logging_in = false;
  enum wd_upload_verdict verdict = wd_auth_answer(&u->auth, call->status, call->content, call->content_len, wd_clock_now(), &why);
  if (verdict != WD_UPLOAD_STORED) note(u, call, why);
  if (verdict == WD_UPLOAD_BLOCKED) block(u);
  if (verdict == WD_UPLOAD_FAULT) back_off(u, wd_upload_retry_after(call->retry_after, wd_clock_wall_us()));
  pump(u);
}

static void log_in(struct wd_upload *u) {
  wd_arena_free(&u->login_arena);
  const char *body = wd_auth_login_body(&u->auth, &u->login_arena);
  if (!body) {
    snprintf(u->last_error, sizeof(u->last_error), "out of memory");
    back_off(u, WD_NONE);
    wd_loop_arm_at(u->loop, &u->wake, u->retry_at);
    return;
  }
  u->logging_in = true;
  u->login.route = WD_ROUTE_LOGIN;
  u->login.body = (struct wd_data){body, strlen(body)};
  u->login.done = on_login_done;
  u->transport->start(u->transport, &u->login);
}

static void send_row(struct wd_upload *u, struct wd_row *row) {
  struct wd_upload_slot *slot = u->slots;
  while (slot->row) slot++; // in_flight is below their number
  slot->row = row;
  slot->generation = u->auth.generation;
  slot->epoch = u->epoch;
  slot->call.route = WD_ROUTE_RESULTS;
  slot->call.auth_name = u->auth.name;
  slot->call.auth_value = u->auth.value;
  slot->call.key = row->key;
  slot->call.body = row->body;
  slot->call.done = on_row_done;
  u->in_flight++;
  u->retried += row->tries > 0;
  u->transport->start(u->transport, &slot->call);
}

// Sends what may be sent now, or arms the timer for when something may.
static void pump(struct wd_upload *u) {
  wd_ns now = wd_clock_now();
  wd_timer_stop(&u->loop->timers, &u->wake);
  while (!u->closed && !u->logging_in && u->in_flight < (u->state == WD_UPLOAD_OK ? u->concurrency : 1)) {
    wd_ns due = wd_store_due(u->store, now);
    if (due == INT64_MAX) break;
    if (u->state != WD_UPLOAD_OK && u->retry_at > due) due = u->retry_at;
    if (due > now) {
      wd_loop_arm_at(u->loop, &u->wake, due);
      break;
    }
    if (!wd_auth_ready(&u->auth, now)) {
      log_in(u);
      break;
    }
    struct wd_row *row = wd_store_lease(u->store, now);
    if (!row) break;
    send_row(u, row);
  }
  if (u->flushes && is_empty(u)) end_flushes(u);
}

static void on_wake(struct wd_timer *t) {
  pump(WD_CONTAINER(t, struct wd_upload, wake));
}

static void on_store_ready(void *ctx) {
  pump(ctx);
}

// How delivery to this address stood when another process had the rows. A back-off goes on; a queue that was blocked is tried
// at once with a single row, since what was wrong may have been mended while nothing ran.
static void remember(struct wd_upload *u, const struct wd_store_memo *memo) {
  if (u->state != WD_UPLOAD_OK || u->sent || strcmp(memo->where, u->where) != 0) return;
  u->odd = memo->odd;
  if (memo->state != WD_UPLOAD_BACKOFF && memo->state != WD_UPLOAD_STOPPED) return;
  wd_ns now = wd_clock_now();
  u->state = (enum wd_upload_state)memo->state;
  u->faults = memo->faults;
  if (memo->state == WD_UPLOAD_STOPPED) wd_store_make_due(u->store);
  u->retry_at = memo->state == WD_UPLOAD_STOPPED ? now : memo->retry_at < now + longest_backoff ? memo->retry_at : now + longest_backoff;
  snprintf(u->last_error, sizeof(u->last_error), "%s", memo->last_error);
  if (wd_upload_left(u))
    wd_log(WD_LOG_WARNING, "upload: %s: was %s before the start (%s), %" PRId64 " results wait", u->where, state_names[u->state],
           u->last_error, wd_upload_left(u));
}

static void try_at_once(struct wd_upload *u) {
  u->retry_at = wd_clock_now();
  wd_store_make_due(u->store);
}

static void on_store_recall(void *ctx, const struct wd_store_memo *memo) {
  struct wd_upload *u = ctx;
  remember(u, memo);
  if (u->flushes) try_at_once(u); // asked for before it was known what to wait for
}

static bool prepare(struct wd_upload *u, struct wd_upload_call *call) {
  return !u->transport->prepare || u->transport->prepare(u->transport, call);
}

int wd_upload_open(struct wd_upload *u, struct wd_loop *loop, struct wd_store *store, struct wd_transport *transport,
                   const struct wd_auth_opts *auth, unsigned concurrency, const char *where) {
  *u = (struct wd_upload){.loop = loop, .store = store, .transport = transport, .concurrency = concurrency, .where = where};
  u->wake.fire = on_wake;
  u->slots = calloc(concurrency, sizeof(*u->slots));
  bool ready = u->slots && wd_auth_open(&u->auth, auth) == 0 && prepare(u, &u->login);
  for (unsigned i = 0; ready && i < concurrency; i++) {
    u->slots[i].upload = u;
    ready = prepare(u, &u->slots[i].call);
  }
  if (!ready) {
    wd_upload_close(u);
    return -1;
  }
  store->ready = on_store_ready;
  store->recall = on_store_recall;
  store->ctx = u;
  return 0;
}

void wd_upload_close(struct wd_upload *u) {
  if (u->closed) return;
  wd_timer_stop(&u->loop->timers, &u->wake);
  u->transport->clear(u->transport, &u->login);
  for (unsigned i = 0; u->slots && i < u->concurrency; i++) {
    u->transport->clear(u->transport, &u->slots[i].call);
    if (u->slots[i].row) wd_store_put_back(u->store, u->slots[i].row);
  }
  u->left_behind = wd_upload_left(u);
  u->closed = true;
  if (u->left_behind)
    wd_log(WD_LOG_WARNING, "upload: %s: closed with %" PRId64 " results not delivered, %s%s", u->where, u->left_behind,
           u->store->kept_in ? "they are kept in " : "they are gone", u->store->kept_in ? u->store->kept_in : "");
  end_flushes(u);
  u->transport->close(u->transport);
  wd_store_close(u->store);
  wd_auth_close(&u->auth);
  wd_arena_free(&u->login_arena);
  free(u->slots);
  u->slots = NULL;
}

void wd_upload_flush(struct wd_upload *u, struct wd_upload_flush *flush) {
  flush->next = u->flushes;
  flush->waiting = true;
  u->flushes = flush;
  try_at_once(u);
  pump(u);
}

void wd_upload_unflush(struct wd_upload *u, struct wd_upload_flush *flush) {
  if (!flush->waiting) return;
  flush->waiting = false;
  for (struct wd_upload_flush **at = &u->flushes; *at; at = &(*at)->next) {
    if (*at != flush) continue;
    *at = flush->next;
    return;
  }
}

void wd_upload_status(struct wd_upload *u, struct wd_upload_status *out) {
  struct wd_store_counts counts;
  wd_ns now = wd_clock_now(), due = wd_store_due(u->store, now);
  wd_store_counts(u->store, now, &counts);
  wd_ns oldest = counts.oldest;
  for (unsigned i = 0; i < u->concurrency; i++)
    if (u->slots[i].row && (oldest == WD_NONE || u->slots[i].row->created < oldest)) oldest = u->slots[i].row->created;
  *out = (struct wd_upload_status){
      .state = u->state,
      .queued = counts.rows - counts.leased,
      .in_flight = counts.leased,
      .sent = u->sent,
      .retried = u->retried,
      .rejected = u->rejected,
      .dropped = counts.dropped,
      .aside = counts.aside,
      .oldest_s = oldest == WD_NONE ? WD_NAN : (double)(now - oldest) / 1e9,
      .last_error = *u->last_error ? u->last_error : NULL,
      .spool = u->store->kept_in,
      .spool_error = counts.fault,
  };
  // Every row that is left waits after a 500.
  if (u->state == WD_UPLOAD_OK && counts.rows > 0 && counts.leased == 0 && due > now) out->state = WD_UPLOAD_BACKOFF;
}
