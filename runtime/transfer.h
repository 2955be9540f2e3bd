// Transfers: one HTTP request to one server and its answer, for the HTTP probe and the uploader alike.
// Names go through our resolver, TCP connections are made by connect.h and handed to libcurl, whose
// multi handle lives on the loop: libcurl never looks up a name and never starts a thread.
// Must hold: a transfer is one hop (redirects are the owner's), its phases follow one another without
// a gap, and its error is judged by the phase it happened in and never by libcurl's code alone.
#pragma once

#include "runtime/connect.h"
#include "runtime/desc.h"
#include "runtime/tls_facts.h"
#include "runtime/transfer_url.h"

enum wd_http_version { WD_HTTP_AUTO, WD_HTTP_1_1, WD_HTTP_2, WD_HTTP_3 };

// The phases of a hop; WD_NONE = not reached, or not part of this hop. They add up to `total`.
// A phase that was cut short by a failure counts up to that failure.
struct wd_transfer_times {
  wd_ns dns;      // the look-up
  wd_ns fallback; // waiting for addresses before the one that connected
  wd_ns connect;  // SYN to connected, by the kernel's clock where that can be trusted
  wd_ns proxy;    // asking a proxy for a tunnel
  wd_ns tls;      // the TLS handshake
  wd_ns quic;     // over HTTP/3 in place of connect and tls
  wd_ns request;  // sending the request
  wd_ns ttfb;     // until the first byte of the answer
  wd_ns transfer; // the answer
  wd_ns total;
  wd_ns connect_wall; // SYN until we came to see the connection, by our clock; no phase
};

// What the kernel says of the TCP connection at the end of the transfer; WD_NONE = not known.
struct wd_transfer_tcp {
  wd_ns rtt, rtt_var;  // smoothed, and its mean deviation
  int64_t retransmits; // segments sent again
};

struct wd_transfer_inner;

// Idle connections of one owner: they are closed when it goes.
struct wd_transfer_pool;

// One request, embedded in its owner. Fill in the questions, call wd_transfer_start.
struct wd_transfer {
  // questions; what they point at must live until the transfer is over
  struct wd_arena *arena; // takes the strings and lists of the answers
  struct wd_url url;
  const char *method;                  // NULL: GET
  const struct wd_map *headers;        // may be NULL
  const char *authorization;           // value of that header, NULL for none; a header given in `headers` goes first
  struct wd_data body;                 // p NULL: none
  int version;                         // enum wd_http_version
  bool reuse;                          // may use a connection of an earlier transfer and leaves its own open
  struct wd_transfer_pool *pool;       // with `reuse`: whose connections; NULL: those of the process
  const struct wd_tls_opts *tls;       // NULL: the system's authorities, verified
  const char *proxy;                   // "http://host:port", "" for none, NULL: as the environment says
  const struct wd_common_opts *net;    // family, address, source, tos, resolver
  const struct wd_timer *deadline;     // of whoever asks: a TCP connection that stood only after it counts as none; may be NULL
  wd_ns connect_timeout;               // until a connection is ready for the request; WD_NONE: no bound
  size_t keep_body;                    // bytes of the answer's body to keep
  bool cookies;                        // take part in cookies: send those of `jar`, give back what became of them
  struct wd_list jar;                  // of const char *: lines as wd_transfer gave them
  void (*heard)(struct wd_transfer *t); // something came in time, or is about to be sent: our own delay until now was no time of the server's; may be NULL
  void (*done)(struct wd_transfer *t); // never called from within wd_transfer_start

  // answers
  enum wd_err err;
  const char *detail;   // for people, when err
  int64_t status;       // 0: no answer
  const char *protocol; // "http/1.1", "http/2", "http/3"; NULL: no answer
  struct wd_map answer; // headers: lower-case names, in order of name, repeated ones joined by ", " (set-cookie: by line feeds)
  int64_t headers_dropped; // beyond what is kept of one answer
  struct wd_data kept;     // the beginning of the body; p NULL without keep_body; freed by wd_transfer_clear
  int64_t body_bytes;      // as they came over the wire (chunked: without the chunks' heads)
  bool truncated;          // `kept` is not the whole body
  bool one_read;           // the body came in one piece: its transfer time says nothing of a rate
  bool reused;             // over a connection of an earlier transfer
  bool dns_shared;         // the look-up was in flight already, for somebody else
  struct wd_addr peer;     // no address where none was reached
  struct wd_transfer_times times;
  struct wd_transfer_tcp tcp;
  struct wd_tls_facts *tls_facts; // NULL where no TLS was spoken
  bool looked_twice;              // the certificates are those of a second connection, made to see them
  const char *through;            // the proxy that was asked, NULL for none
  struct wd_list jar_after;       // of const char *, with `cookies`

  struct wd_transfer_inner *inner;
  struct wd_loop *loop;  // once started
  struct wd_timer soon;  // ends a transfer that failed in wd_transfer_start
};

void wd_transfer_start(struct wd_loop *loop, struct wd_transfer *t);

// A deadline passed: ends the transfer with WD_E_TIMEOUT, or what fits the phase better
// (WD_E_DNS_TIMEOUT, WD_E_QUIC_BLOCKED), and with all that is known so far. `done` is not called.
void wd_transfer_expire(struct wd_transfer *t, wd_ns after);

// Ends the transfer at once; `done` is not called. No harm when it is over or was never started.
void wd_transfer_stop(struct wd_transfer *t);

// Stops and frees what `kept` holds.
void wd_transfer_clear(struct wd_transfer *t);

// The value of a header of the answer by its lower-case name, or NULL.
const char *wd_transfer_header(const struct wd_transfer *t, const char *name);

// What is wrong with a proxy's URL, NULL for nothing; the text may be in the arena.
const char *wd_transfer_check_proxy(struct wd_arena *arena, const char *proxy);

// NULL when memory is out.
struct wd_transfer_pool *wd_transfer_pool_open(struct wd_loop *loop);

// Closes its connections; every transfer that was started with it must be over. NULL does no harm.
void wd_transfer_pool_close(struct wd_transfer_pool *pool);

// Why this libcurl cannot speak HTTP/3, naming it; NULL where it can.
const char *wd_transfer_no_http3(void);

// "libcurl/8.14.1 GnuTLS/3.8.9 ...": the libraries in use.
const char *wd_transfer_libraries(void);
