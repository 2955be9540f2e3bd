// TLS between our own two sides over a pair of sockets: handshake, ALPN, facts, verdict, data, and endings.
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/tls.h"

struct pair {
  struct wd_loop loop;
  struct wd_arena arena;
  struct wd_cert_pair cert;
  struct wd_tls_server *server;
  struct wd_tls *near, *far;
  int fds[2];
  char error[200];
};

static const char *const protocols[] = {"h2", "http/1.1", NULL};

static struct wd_tls_opts options(void) {
  struct wd_tls_opts opts;
  wd_desc_clear(&wd_tls_opts_desc, &opts);
  opts.verify = 1;
  return opts;
}

static void begin(struct pair *p, const struct wd_tls_opts *opts, const char *host) {
  static const char *const names[] = {"unit.test", "127.0.0.1"};
  memset(p, 0, sizeof(*p));
  assert_int_equal(wd_loop_open(&p->loop), 0);
  assert_true(wd_cert_self_signed(&p->cert, &p->arena, names, 2, 7, p->error, sizeof(p->error)));
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fds), 0);
  p->server = wd_tls_server_new(p->cert.cert_pem, p->cert.key_pem, protocols, p->error, sizeof(p->error));
  assert_non_null(p->server);
  p->far = wd_tls_accept(p->server, p->fds[1]);
  assert_non_null(p->far);
  p->near = wd_tls_client(&p->loop, p->fds[0], opts, host, p->error, sizeof(p->error));
  assert_non_null(p->near);
}

static void end(struct pair *p) {
  wd_tls_free(p->near);
  wd_tls_free(p->far);
  wd_tls_server_free(p->server);
  close(p->fds[0]);
  if (p->fds[1] >= 0) close(p->fds[1]);
  wd_arena_free(&p->arena);
  assert_int_equal(wd_loop_close(&p->loop), 0);
}

// Lets both sides take turns; the last step of each.
static void shake(struct pair *p, enum wd_tls_step *near, enum wd_tls_step *far) {
  *near = *far = WD_TLS_READ;
  for (int i = 0; i < 20; i++) {
    if (*near == WD_TLS_READ || *near == WD_TLS_WRITE) *near = wd_tls_handshake(p->near);
    if (*far == WD_TLS_READ || *far == WD_TLS_WRITE) *far = wd_tls_handshake(p->far);
  }
}

static struct wd_tls_facts *facts_of(struct pair *p, const char *ca, const char *host, enum wd_err *verdict) {
  struct wd_tls_opts opts = options();
  const char *detail;
  opts.ca = ca;
  return wd_tls_describe(p->near, &p->arena, &opts, host, verdict, &detail);
}

static void handshake_facts_and_data(void **state) {
  (void)state;
  const char *offered[] = {"http/1.1"};
  struct wd_tls_opts opts = options();
  struct pair p;
  enum wd_tls_step near, far;
  enum wd_err verdict;
  char bytes[16];
  size_t n;
  opts.alpn = (struct wd_list){.items = offered, .n = 1, .given = true};
  begin(&p, &opts, "unit.test");
  shake(&p, &near, &far);
  assert_int_equal(near, WD_TLS_DONE);
  assert_int_equal(far, WD_TLS_DONE);

  struct wd_tls_facts *facts = facts_of(&p, p.cert.cert_pem, "unit.test", &verdict);
  assert_int_equal(verdict, WD_OK);
  assert_string_equal(facts->verify, "ok");
  assert_string_equal(facts->version, "TLSv1.3");
  assert_string_equal(facts->alpn, "http/1.1");
  assert_true(facts->bits >= 128);
  assert_int_equal(facts->chain.n, 1);
  assert_string_equal(((struct wd_tls_cert *)facts->chain.items)->sha256, p.cert.sha256);
  facts = facts_of(&p, p.cert.cert_pem, "other.test", &verdict);
  assert_int_equal(verdict, WD_E_TLS_NAME_MISMATCH);
  assert_string_equal(facts->verify, "tls_name_mismatch");
  facts = facts_of(&p, "/nowhere", "unit.test", &verdict);
  assert_int_equal(verdict, WD_E_LOCAL);
  assert_null(facts->verify);
  assert_int_equal(facts->chain.n, 1);

  assert_int_equal(wd_tls_write(p.near, "ping", 4, &n), WD_TLS_DONE);
  assert_int_equal(n, 4);
  assert_int_equal(wd_tls_read(p.far, bytes, sizeof(bytes), &n), WD_TLS_DONE);
  assert_memory_equal(bytes, "ping", 4);
  assert_int_equal(wd_tls_read(p.far, bytes, sizeof(bytes), &n), WD_TLS_READ);
  wd_tls_bye(p.near);
  assert_int_equal(wd_tls_read(p.far, bytes, sizeof(bytes), &n), WD_TLS_END);
  end(&p);
}

static void no_common_protocol_is_an_alert(void **state) {
  (void)state;
  const char *offered[] = {"gopher"}, *detail;
  struct wd_tls_opts opts = options();
  struct pair p;
  enum wd_tls_step near, far;
  opts.alpn = (struct wd_list){.items = offered, .n = 1, .given = true};
  begin(&p, &opts, "unit.test");
  shake(&p, &near, &far);
  assert_int_equal(near, WD_TLS_FAILED);
  assert_int_equal(far, WD_TLS_FAILED);
  assert_int_equal(wd_tls_error(p.near, &detail), WD_E_TLS_HANDSHAKE);
  assert_non_null(strstr(detail, "no application protocol"));
  end(&p);
}

static void a_bare_end_is_no_good_order(void **state) {
  (void)state;
  struct wd_tls_opts opts = options();
  struct pair p;
  enum wd_tls_step near, far;
  char bytes[16];
  size_t n;
  begin(&p, &opts, "unit.test");
  shake(&p, &near, &far);
  assert_int_equal(near, WD_TLS_DONE);
  close(p.fds[1]);
  p.fds[1] = -1;
  assert_int_equal(wd_tls_read(p.near, bytes, sizeof(bytes), &n), WD_TLS_FAILED);
  assert_int_equal(wd_tls_error(p.near, NULL), WD_E_PROTOCOL);
  end(&p);

  begin(&p, &opts, "unit.test");
  assert_int_equal(wd_tls_handshake(p.near), WD_TLS_READ);
  shutdown(p.fds[1], SHUT_WR);
  assert_int_equal(wd_tls_handshake(p.near), WD_TLS_FAILED);
  assert_int_equal(wd_tls_error(p.near, NULL), WD_E_PROTOCOL);
  end(&p);
}

static void a_server_needs_a_pair(void **state) {
  (void)state;
  char error[200] = "";
  assert_null(wd_tls_server_new("no certificate", "no key", NULL, error, sizeof(error)));
  assert_non_null(strstr(error, "certificate or key"));
}

int main(void) {
  signal(SIGPIPE, SIG_IGN); // as the program does
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(handshake_facts_and_data),
    cmocka_unit_test(no_common_protocol_is_an_alert),
    cmocka_unit_test(a_bare_end_is_no_good_order),
    cmocka_unit_test(a_server_needs_a_pair),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
