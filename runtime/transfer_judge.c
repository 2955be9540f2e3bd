// The name of a failure. libcurl gives one code for many faults and, with another TLS library,
// another one for the same, so the phase comes first, then the kernel's word, then the code.
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/neterr.h"
#include "runtime/text.h"
#include "runtime/transfer_inner.h"

// States of the kernel's TCP: a socket is in the first after an RST, in the second after the peer's FIN.
enum { STATE_CLOSE = 7, STATE_CLOSE_WAIT = 8 };

__attribute__((format(printf, 3, 4))) static void name(struct wd_transfer *t, enum wd_err err, const char *format, ...) {
  va_list args;
  va_start(args, format);
  t->err = err;
  t->detail = wd_arena_vprintf(t->arena, format, args);
  va_end(args);
}

// libcurl's own words, made fit to print and to stand in a sentence of ours.
static const char *words(const struct wd_transfer_try *try, char out[static 300]) {
  static const char prefix[] = "GnuTLS, handshake failed: ";
  const char *text = *try->message ? try->message : curl_easy_strerror(try->rc);
  if (strncmp(text, prefix, strlen(prefix)) == 0) text += strlen(prefix);
  size_t n = wd_text_escape(out, 300, text, strlen(text));
  while (n && strchr(". \n", out[n - 1])) out[--n] = '\0';
  size_t first = strcspn(out, " ");
  bool is_name = first > 1 && strcspn(out + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") < first - 1; // GnuTLS, HTTP, OpenSSL
  if (out[0] >= 'A' && out[0] <= 'Z' && !is_name) out[0] = (char)(out[0] + ('a' - 'A'));
  return out;
}

static long os_errno(const struct wd_transfer_try *try) {
  long err = 0;
  curl_easy_getinfo(try->easy, CURLINFO_OS_ERRNO, &err);
  return err;
}

// Of a datagram socket libcurl tells the kernel's error in its words alone: "recvmsg() ... (errno=113; No route to host)", or by OpenSSL's
// number for it, whose upper bit stands for the system: "error:80000071:system library::No route to host".
static long datagram_errno(const struct wd_transfer_try *try) {
  const char *at = strstr(try->message, "errno"), *code = strstr(try->message, "error:8");
  if (at && at[5]) return strtol(at + 6, NULL, 10);
  if (code && strstr(code, ":system library:")) return (long)(strtoul(code + strlen("error:"), NULL, 16) & 0x7fffffff);
  return os_errno(try);
}

static bool was_reset(const struct wd_transfer_inner *in, const struct wd_transfer_try *try) {
  long err = os_errno(try);
  return in->tcp_state == STATE_CLOSE || err == ECONNRESET || err == EPIPE;
}

// Ours: memory, descriptors, files. False when it was not.
static bool judge_local(struct wd_transfer *t, const struct wd_transfer_try *try) {
  char text[300];
  if (try->open_err) {
    name(t, try->open_err, "%s", try->open_detail);
    return true;
  }
  if (try->open_errno) {
    name(t, wd_neterr_local(try->open_errno), "%s", wd_neterr_detail_local(try->open_errno));
    return true;
  }
  if (try->rc == CURLE_SEND_ERROR || try->rc == CURLE_RECV_ERROR) {
    int err = (int)os_errno(try);
    enum wd_err what = wd_neterr_remote(err);
    if (what == WD_E_LOCAL || what == WD_E_PERMISSION) { // buffers or memory that ran out, not the peer
      name(t, what, "%s", wd_neterr_detail_remote(err));
      return true;
    }
  }
  switch (try->rc) {
  case CURLE_OUT_OF_MEMORY:
  case CURLE_WRITE_ERROR: name(t, WD_E_LOCAL, "out of memory"); return true;
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_CIPHER:
  case CURLE_SSL_ENGINE_NOTFOUND:
  case CURLE_SSL_ENGINE_SETFAILED:
  case CURLE_SSL_ENGINE_INITFAILED:
  case CURLE_FAILED_INIT:
  case CURLE_NOT_BUILT_IN:
  case CURLE_UNKNOWN_OPTION:
  case CURLE_BAD_FUNCTION_ARGUMENT: name(t, WD_E_LOCAL, "%s", words(try, text)); return true;
  default: return false;
  }
}

static void judge_tunnel(struct wd_transfer_inner *in, const struct wd_transfer_try *try) {
  long status = 0;
  curl_easy_getinfo(try->easy, CURLINFO_HTTP_CONNECTCODE, &status);
  if (status)
    name(in->t, WD_E_PROXY, "the proxy %s refused a tunnel to %s with status %ld", in->proxy.authority, in->t->url.authority,
         status);
  else if (was_reset(in, try))
    name(in->t, WD_E_PROXY, "the proxy %s reset the connection", in->proxy.authority);
  else
    name(in->t, WD_E_PROXY, "the proxy %s closed the connection without opening a tunnel", in->proxy.authority);
}

// A certificate that does not hold. Our own verdict is the precise one; libcurl's stands where ours is missing.
static void judge_certificate(struct wd_transfer_inner *in, const struct wd_transfer_try *try) {
  char text[300];
  if (in->verdict && in->verdict != WD_E_LOCAL)
    name(in->t, in->verdict, "%s", in->verdict_detail ? in->verdict_detail : "the certificate does not hold");
  else
    name(in->t, WD_E_TLS_UNTRUSTED, "%s", words(try, text));
}

static void judge_tls(struct wd_transfer_inner *in, const struct wd_transfer_try *try) {
  char text[300];
  if (try->rc == CURLE_PEER_FAILED_VERIFICATION) {
    judge_certificate(in, try);
    return;
  }
  // GnuTLS: its own code. OpenSSL: the code of any failed handshake, with these words.
  bool closed = try->rc == CURLE_RECV_ERROR || try->rc == CURLE_SEND_ERROR || strstr(try->message, "SYSCALL") ||
      strstr(try->message, "reset by peer") || strstr(try->message, "unexpected eof") ||
      strstr(try->message, "properly terminated") ||
      (in->tcp_state == STATE_CLOSE_WAIT && strstr(try->message, "Error decoding the received TLS packet")); // half a record
  if (closed && was_reset(in, try))
    name(in->t, WD_E_CONNECTION_RESET, "the server reset the connection during the TLS handshake");
  else if (closed)
    name(in->t, WD_E_PROTOCOL, "the server closed the connection during the TLS handshake");
  else
    name(in->t, WD_E_TLS_HANDSHAKE, "%s", words(try, text));
}

static void judge_quic(struct wd_transfer_inner *in, const struct wd_transfer_try *try) {
  char text[300];
  long err = datagram_errno(try);
  if (try->rc == CURLE_PEER_FAILED_VERIFICATION)
    judge_certificate(in, try);
  else if (try->wanted)
    name(in->t, WD_E_TLS_HANDSHAKE, "the server ended the QUIC handshake");
  else if ((try->heard || err == 0) && !strstr(try->message, "refused"))
    name(in->t, WD_E_TLS_HANDSHAKE, "the server ended the QUIC handshake: %s", words(try, text));
  else if (err && err != ECONNREFUSED && err != EAGAIN)
    name(in->t, wd_neterr_remote((int)err), "%s", wd_neterr_detail_remote((int)err));
  else
    name(in->t, WD_E_CONNECTION_REFUSED, "nothing listens on UDP port %u", (unsigned)in->t->url.port);
}

static void judge_answer(struct wd_transfer_inner *in, const struct wd_transfer_try *try) {
  char text[300];
  struct wd_transfer *t = in->t;
  bool begun = in->first_byte != WD_NONE;
  bool closed =
      try->rc == CURLE_GOT_NOTHING || try->rc == CURLE_RECV_ERROR || try->rc == CURLE_SEND_ERROR || try->rc == CURLE_PARTIAL_FILE;
  if (closed && was_reset(in, try))
    name(t, WD_E_CONNECTION_RESET,
         begun ? "the server reset the connection within its answer" : "the server reset the connection before it answered");
  else if (try->rc == CURLE_GOT_NOTHING)
    name(t, WD_E_PROTOCOL, "the server closed the connection without an answer");
  else if (try->rc == CURLE_PARTIAL_FILE)
    name(t, WD_E_PROTOCOL, "the server closed the connection before its answer was complete: %s", words(try, text));
  else if (try->rc == CURLE_UNSUPPORTED_PROTOCOL || try->rc == CURLE_WEIRD_SERVER_REPLY)
    name(t, WD_E_PROTOCOL, "what the server sent is not HTTP");
  else
    name(t, WD_E_PROTOCOL, "%s", words(try, text));
}

// Two different lengths leave open where the answer ends (RFC 9110 section 8.6).
static bool lengths_differ(const struct wd_transfer *t) {
  const char *text = wd_transfer_header(t, "content-length"), *comma = text ? strchr(text, ',') : NULL;
  for (; comma; comma = strchr(comma + 1, ',')) {
    const char *next = comma + 1 + strspn(comma + 1, " ");
    size_t n = strcspn(next, ",");
    if (n != strcspn(text, ",") || strncmp(text, next, n) != 0) return true;
  }
  return false;
}

// The answer is complete; whether it is the one that was asked for.
static void judge_success(struct wd_transfer_inner *in) {
  struct wd_transfer *t = in->t;
  bool verify = !t->tls || t->tls->verify != 0;
  if (verify && in->verdict && t->tls_facts)
    name(t, in->verdict, "%s", in->verdict_detail ? in->verdict_detail : "the certificate does not hold");
  else if (!in->head_complete) // libcurl takes it for an answer
    name(t, WD_E_PROTOCOL, "the server closed the connection within the head of its answer");
  else if (lengths_differ(t))
    name(t, WD_E_PROTOCOL, "the answer has two different lengths: %.80s", wd_transfer_header(t, "content-length"));
  else if (t->version == WD_HTTP_2 && t->protocol && strcmp(t->protocol, "http/2") != 0)
    name(t, WD_E_PROTOCOL, "the server does not speak HTTP/2: it answered with %s", t->protocol);
}

void wd_transfer_judge(struct wd_transfer_inner *in, struct wd_transfer_try *try) {
  struct wd_transfer *t = in->t;
  if (try->rc == CURLE_OK)
    judge_success(in);
  else if (judge_local(t, try))
    return;
  else if (in->ready != WD_NONE)
    judge_answer(in, try);
  else if (t->version == WD_HTTP_3)
    judge_quic(in, try);
  else if (in->tunnel && (in->tunnelled == WD_NONE || try->refused_tunnel))
    judge_tunnel(in, try);
  else if (t->url.tls)
    judge_tls(in, try);
  else
    judge_answer(in, try);
}
