// TLS over a connected, non-blocking socket, by OpenSSL: the client's side for probes, the server's
// side for listeners. The descriptor stays the caller's, and so does waiting.
// SIGPIPE has to be ignored, for OpenSSL writes where it pleases.
// Must hold: a handshake always ends with whatever the peer presented, never with OpenSSL's own verdict;
// whether the certificate holds is judged afterwards, by cert.h, for every protocol alike.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "runtime/loop.h"
#include "runtime/tls_facts.h"

struct wd_tls;
struct wd_tls_server;

enum wd_tls_step {
  WD_TLS_DONE,  // the handshake is complete; some bytes were read or written
  WD_TLS_READ,  // wait until the descriptor is readable, then call again
  WD_TLS_WRITE, // wait until it is writable, then call again with the same bytes
  WD_TLS_END,   // the peer closed in good order (close_notify); a bare FIN is a failure, for it may cut a message
  WD_TLS_FAILED // see wd_tls_error
};

// A client on `fd` that expects `host` (SNI, unless it is an address; opts->server_name goes before it).
// `opts` is read during the call only. NULL with a message in `error` where certificate files cannot be used.
struct wd_tls *wd_tls_client(struct wd_loop *loop, int fd, const struct wd_tls_opts *opts, const char *host, char *error, size_t room);

// What listeners of one certificate share: PEM texts, and the protocols to agree to in order of preference
// (ends with NULL; NULL for none). NULL with a message in `error`. Freed by wd_tls_server_free.
struct wd_tls_server *wd_tls_server_new(const char *cert_pem, const char *key_pem, const char *const *alpn, char *error, size_t room);
void wd_tls_server_free(struct wd_tls_server *server);

// The server's side of a connection that was accepted. NULL when memory is out.
struct wd_tls *wd_tls_accept(struct wd_tls_server *server, int fd);

enum wd_tls_step wd_tls_handshake(struct wd_tls *tls);

// Reads at most `room` bytes; bytes that OpenSSL holds are not seen by the loop, so read until WD_TLS_READ.
enum wd_tls_step wd_tls_read(struct wd_tls *tls, void *bytes, size_t room, size_t *got);
enum wd_tls_step wd_tls_write(struct wd_tls *tls, const void *bytes, size_t len, size_t *put);

// Why the last step failed: WD_E_TLS_HANDSHAKE, WD_E_CONNECTION_RESET (RST alone), WD_E_PROTOCOL (FIN
// before the peer was done), or another errno's name. `detail` is one line for people.
enum wd_err wd_tls_error(const struct wd_tls *tls, const char **detail);

// What was agreed on and presented so far, for the result; also after a failed handshake. The certificate
// is judged with `ca` for `host` (server_name goes before it in both): *verdict is WD_OK, WD_E_TLS_UNTRUSTED, _EXPIRED,
// _NAME_MISMATCH, or WD_E_LOCAL where there is nothing to judge it by; *detail says why. NULL where TLS was not spoken.
struct wd_tls_facts *wd_tls_describe(struct wd_tls *tls, struct wd_arena *arena, const struct wd_tls_opts *opts, const char *host,
                                     enum wd_err *verdict, const char **detail);

// Tells the peer that nothing more will be sent, as far as the socket takes it at once.
void wd_tls_bye(struct wd_tls *tls);

void wd_tls_free(struct wd_tls *tls); // NULL does no harm

const char *wd_tls_library(void); // version of the OpenSSL in use
