// What the transfer*.c files share: the multi handle on the loop, its sockets, one try at a request.
// For these files alone. Must hold: libcurl's callbacks only write into these structs; transfers are
// added, removed and told their end outside of them.
#pragma once

#include <curl/curl.h>

#include "runtime/tls_session.h"
#include "runtime/transfer.h"
#include "runtime/watch.h"

struct wd_transfer_multi;
struct wd_transfer_try;
struct wd_transfer_look;

// A descriptor that libcurl holds: in a transfer, or in its pool of idle connections.
struct wd_transfer_socket {
  struct wd_watch watch;
  struct wd_transfer_multi *multi;
  struct wd_transfer_try *owner; // whose tcp figures it gives; NULL once that is over
  struct wd_addr peer;
  char *chain; // PEM texts that the server showed, NULL = none kept
  struct wd_timer farewell; // runs while libcurl closes it
  int fd;
  bool idle; // libcurl asks for no events at present
};

// One try: an easy handle bound to one connection. A transfer over TCP has one; over QUIC one for
// each address that was tried (RFC 8305).
struct wd_transfer_try {
  struct wd_transfer *t;
  CURL *easy;
  struct curl_slist *headers, *connect_to;
  struct wd_transfer_socket *socket; // while libcurl has it open
  struct wd_addr to;
  struct wd_timer hold; // runs while nothing is read, until the policy has bytes again
  wd_ns began;    // the QUIC handshake
  int fd;         // a connected TCP socket to be taken over, else -1
  int open_errno; // why no socket could be opened
  enum wd_err open_err;
  char open_detail[160];
  bool added; // libcurl has it
  bool quic;
  bool pool;   // may only use a connection that is there
  bool opened; // libcurl asked for a socket
  bool wanted; // ... and was refused: there was nothing in the pool, or it wanted a second one
  bool heard;  // the peer sent something
  bool failed;
  bool refused_tunnel; // the proxy answered something else than 2xx
  CURLcode rc;
  char message[CURL_ERROR_SIZE];
};

enum { WD_TRANSFER_TRIES = 6, WD_TRANSFER_HEADERS = 256, WD_TRANSFER_HEADER_BYTES = 64 * 1024 };

struct wd_transfer_line {
  const char *name;
  const char *value;
  size_t order;
};

struct wd_transfer_proxy {
  const char *host, *authority; // NULL: no proxy
  const char *user, *password;
  uint16_t port;
};

struct wd_transfer_inner {
  struct wd_transfer *t;
  struct wd_loop *loop;
  struct wd_transfer_multi *multi;
  struct wd_transfer_proxy proxy;
  struct wd_common_opts net; // as given, without the pinned address when a proxy is asked
  bool tunnel;               // the proxy is asked for a tunnel
  bool literal;              // nothing to look up
  bool pool_left;            // the pool had no connection that works
  struct wd_connect connect;
  struct wd_resolve look_up; // QUIC
  size_t next_address;
  struct wd_transfer_try *tries[WD_TRANSFER_TRIES]; // each malloc'ed
  size_t tried;
  struct wd_transfer_try *winner; // whose connection carries the request
  struct wd_timer stagger;        // the next address over QUIC
  struct wd_timer connect_bound;
  struct wd_transfer_inner *next_won;
  // moments; WD_NONE = not reached
  wd_ns began, first_attempt, attempt, connected, tunnelled, ready, first_byte, ended;
  wd_ns stall; // how long a connection that stood was left waiting by us: in no phase and not in the total
  // the answer
  struct wd_transfer_line *lines; // malloc'ed, the strings in the arena
  size_t line_room, line_count, line_bytes;
  size_t kept_room;
  bool head_complete; // the empty line after the headers came
  int tcp_state;      // of the kernel when the connection was closed or the transfer ended, 0 = not known
  struct x509_store_st *store;
  const char *ca_file, *ca_folder; // of the `ca` option, as libcurl wants it
  int ca_fd;                       // holds PEM text for it, -1 = none
  struct wd_tls_session session;
  enum wd_err verdict; // on the certificate; WD_OK where nothing was judged
  const char *verdict_detail;
  struct wd_transfer_look *look; // the transfer is over but for this, NULL = none
};

// ---- transfer_multi.c ----

// The loop's multi handle, made at first use; NULL with a reason when libcurl gives none.
struct wd_transfer_multi *wd_transfer_multi_get(struct wd_loop *loop);

// Gives the try to libcurl; false when it does not take it. Nothing runs yet.
bool wd_transfer_multi_add(struct wd_transfer_multi *m, struct wd_transfer_try *try);

// While the policy has no bytes for what came: nothing is to be read, and it goes on by itself. False when it has some.
bool wd_transfer_multi_hold(struct wd_transfer_try *try);

// Takes the try back; its socket is closed or left in the pool. No harm when it was not added.
void wd_transfer_multi_remove(struct wd_transfer_multi *m, struct wd_transfer_try *try);

// Lets libcurl begin with what was added, now and not in the next pass.
void wd_transfer_multi_kick(struct wd_transfer_multi *m);

// Notes that a try has its connection ready, so that the others end once libcurl has returned.
void wd_transfer_multi_won(struct wd_transfer_multi *m, struct wd_transfer_inner *in);

// Drops that note, for a transfer that ends.
void wd_transfer_multi_forget(struct wd_transfer_multi *m, struct wd_transfer_inner *in);

// Remembers a socket that libcurl gets; false when memory or descriptors of epoll ran out.
bool wd_transfer_multi_open(struct wd_transfer_multi *m, struct wd_transfer_try *try, int fd);

// The socket of a descriptor, NULL where libcurl was given none.
struct wd_transfer_socket *wd_transfer_multi_socket(struct wd_transfer_multi *m, int fd);

// For CURLOPT_CLOSESOCKETFUNCTION, whose data the multi is.
int wd_transfer_multi_on_close(void *user, curl_socket_t fd);

// The transfer takes and leaves its connections there.
void wd_transfer_pool_use(struct wd_transfer_pool *pool, CURL *easy);

// ---- transfer.c ----

// libcurl is done with a try.
void wd_transfer_try_over(struct wd_transfer_try *try, CURLcode rc);

// Something came in time or is about to be sent: deadlines move by our own delay since the beginning.
void wd_transfer_give_back(struct wd_transfer_inner *in);

// The other tries of a transfer end: one has its connection.
void wd_transfer_settle(struct wd_transfer_inner *in);

// The second look is over, with or without success.
void wd_transfer_looked(struct wd_transfer_inner *in, struct wd_transfer_try *try);

// ---- transfer_look.c ----

// Whether a finished and reported transfer lacks the certificates that a handshake could show.
bool wd_transfer_look_needed(const struct wd_transfer_inner *in, const struct wd_transfer_try *try);

// Connects to the transfer's peer once more; ends in wd_transfer_looked, never within this call. False when memory is out.
bool wd_transfer_look_start(struct wd_transfer_inner *in, struct wd_transfer_try *try);
void wd_transfer_look_free(struct wd_transfer_look *look);

// ---- transfer_easy.c ----

// Prepares the easy handle of a try whose `to`, `quic` and `pool` are set; false when memory is out or
// libcurl refuses an option.
bool wd_transfer_easy_make(struct wd_transfer_inner *in, struct wd_transfer_try *try);

// Frees the handle, which must have been removed, and closes a socket that was not taken over.
void wd_transfer_easy_free(struct wd_transfer_try *try);

// ---- transfer_answer.c: libcurl's callbacks for what comes ----

size_t wd_transfer_on_header(char *bytes, size_t size, size_t count, void *user);
size_t wd_transfer_on_body(char *bytes, size_t size, size_t count, void *user);
int wd_transfer_on_ready(void *user, char *remote, char *local, int remote_port, int local_port);

// Sorts and joins the headers into t->answer.
void wd_transfer_answer_finish(struct wd_transfer_inner *in);

// ---- transfer_end.c ----

// Reads TCP_INFO of the try's socket into the transfer, as long as it is open.
void wd_transfer_read_tcp(struct wd_transfer_try *try, int fd);

// Fills in everything but err and detail from the try that got furthest; `ended` must be set.
void wd_transfer_report(struct wd_transfer_inner *in);

// ---- transfer_judge.c ----

// Names the failure of a try, by the phase it was in. To be called after wd_transfer_report.
void wd_transfer_judge(struct wd_transfer_inner *in, struct wd_transfer_try *try);

// ---- transfer_proxy.c ----

// Which proxy a request takes. NULL, or what is wrong with its URL, in the arena.
const char *wd_transfer_proxy_find(struct wd_transfer_proxy *out, struct wd_arena *arena, const struct wd_url *url,
                                   const char *option);
