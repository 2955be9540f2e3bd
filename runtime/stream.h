// The course that the probes over TCP share: name, connection, TLS where asked, bytes; and the part of
// their results that comes of it. A probe embeds one and is told by three callbacks how far it is.
// Must hold: stopping closes everything at once; every failure ends the probe by wd_probe_done.
#pragma once

#include "runtime/connect.h"
#include "runtime/probe.h"
#include "runtime/tls.h"

struct wd_stream_timings {
  wd_ns dns, fallback, connect, connect_wall, starttls, tls, banner, dialogue;
};

struct wd_stream_tcp {
  wd_ns rtt;
  int64_t retransmits;
};

// What a probe's result holds besides the common part; a member of its result struct.
struct wd_stream_result {
  struct wd_stream_timings timings;
  struct wd_stream_timings *timings_shown;
  struct wd_stream_tcp tcp;
  struct wd_stream_tcp *tcp_shown;
  struct wd_tls_facts *tls;
  struct wd_quality quality;
  int8_t dns_shared;
};

extern const struct wd_desc wd_stream_tcp_desc;

#define WD_STREAM_RESULT(st, member, timings_desc)                                                                        \
  WD_FIELD(st, member.timings_shown, "timings", WD_T_TABLE, .sub = (timings_desc), .help = "how long each phase took"),   \
    WD_FIELD(st, member.tcp_shown, "tcp", WD_T_TABLE, .sub = &wd_stream_tcp_desc, .help = "what the kernel says of the connection"), \
    WD_FIELD(st, member.dns_shared, "dns_shared", WD_T_BOOL,                                                              \
             .help = "true where the look-up was in flight already, for another probe")

#define WD_STREAM_TIMINGS_CONNECT(st)                                                                                     \
  WD_FIELD(st, dns, "dns_ms", WD_T_MS, .help = "looking up the name; absent for an address"),                             \
    WD_FIELD(st, fallback, "fallback_ms", WD_T_MS, .help = "waiting on addresses that did not connect"),                  \
    WD_FIELD(st, connect, "connect_ms", WD_T_MS, .help = WD_CONNECT_HELP),                                                    \
    WD_FIELD(st, connect_wall, "connect_wall_ms", WD_T_MS, .help = WD_CONNECT_WALL_HELP)
#define WD_STREAM_TIMINGS_TLS(st) WD_FIELD(st, tls, "tls_ms", WD_T_MS, .help = "the TLS handshake")

struct wd_stream {
  struct wd_probe_op *probe;
  struct wd_stream_result *result;
  const struct wd_tls_opts *tls_opts; // of wd_stream_secure
  void (*opened)(struct wd_stream *s);  // connected; the clock of the next phase starts
  void (*secured)(struct wd_stream *s); // the handshake is over; see wd_stream_trusts
  void (*ready)(struct wd_stream *s);   // reading or writing may go on
  // inner
  struct wd_hostport at;
  struct wd_connect connect;
  int fd;                // once connected
  struct wd_watch watch; // of fd, from the first wait on
  bool used;             // for more than to connect
  struct wd_tls *tls;
  bool opening, securing;
  enum wd_err verdict; // on the certificate
  const char *why;
  wd_ns mark; // when the present phase began
};

enum wd_stream_io {
  WD_STREAM_OK,    // some bytes
  WD_STREAM_AGAIN, // none now; the stream waits for them and calls `ready`
  WD_STREAM_END,   // the peer sends no more
  WD_STREAM_FAILED // the probe has ended
};

// For a probe's check: what is wrong with "host:port", in the arena, or NULL. `default_port` as wd_hostport_split's.
const char *wd_stream_check(struct wd_probe_op *p, const char *target, int default_port);

// Connects to "host:port"; opened, secured and ready must be set. The fields of the common result that the
// target gives are filled in here, those of the address once it is known.
void wd_stream_start(struct wd_stream *s, struct wd_probe_op *p, struct wd_stream_result *result, const char *target, int default_port);

// Starts the TLS handshake on the open connection; `secured` follows.
void wd_stream_secure(struct wd_stream *s, const struct wd_tls_opts *opts);

// Whether to go on after `secured`; false where the certificate does not hold and verify is on: the probe has then ended.
bool wd_stream_trusts(struct wd_stream *s);

// Reads or writes what is possible now, through TLS once it is there.
enum wd_stream_io wd_stream_read(struct wd_stream *s, void *bytes, size_t room, size_t *got);
enum wd_stream_io wd_stream_write(struct wd_stream *s, const void *bytes, size_t len, size_t *put);

// Nanoseconds since the last call, or since the connection stood: how long the phase took that ends now.
wd_ns wd_stream_lap(struct wd_stream *s);

// For a probe's expire: ends it with "timeout" where it still connects or shakes hands; false where it is past that.
bool wd_stream_expire(struct wd_stream *s);

// Ends the probe, closing in good order, or at once by an RST that leaves no TIME_WAIT (`abort`).
void wd_stream_done(struct wd_stream *s, enum wd_err err, const char *detail, bool abort);

// For a probe's stop.
void wd_stream_stop(struct wd_stream *s);
