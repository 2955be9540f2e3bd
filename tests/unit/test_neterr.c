// errno to failure names: whose fault it was.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../runtime/neterr.h"

static void test_remote(void **state) {
  (void)state;
  assert_int_equal(wd_neterr_remote(0), WD_OK);
  assert_int_equal(wd_neterr_remote(ECONNREFUSED), WD_E_CONNECTION_REFUSED);
  assert_int_equal(wd_neterr_remote(ECONNRESET), WD_E_CONNECTION_RESET);
  assert_int_equal(wd_neterr_remote(EPIPE), WD_E_CONNECTION_RESET);
  assert_int_equal(wd_neterr_remote(EHOSTUNREACH), WD_E_HOST_UNREACHABLE);
  assert_int_equal(wd_neterr_remote(ENETUNREACH), WD_E_NETWORK_UNREACHABLE);
  assert_int_equal(wd_neterr_remote(ETIMEDOUT), WD_E_TIMEOUT);
  assert_int_equal(wd_neterr_remote(EACCES), WD_E_ADMIN_PROHIBITED);
  assert_int_equal(wd_neterr_remote(EMSGSIZE), WD_E_MESSAGE_TOO_BIG);
}

static void test_local_never_blames_the_target(void **state) {
  (void)state;
  const int ours[] = {ENETUNREACH,   EHOSTUNREACH, EMFILE,       ENFILE, ENOBUFS, ENOMEM,
                      EADDRNOTAVAIL, EADDRINUSE,   EAFNOSUPPORT, EINVAL, 9999};
  for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) assert_int_equal(wd_neterr_local(ours[i]), WD_E_LOCAL);
  assert_int_equal(wd_neterr_local(EPERM), WD_E_PERMISSION);
  assert_int_equal(wd_neterr_local(EACCES), WD_E_PERMISSION);
  assert_int_equal(wd_neterr_local(ECONNREFUSED), WD_E_CONNECTION_REFUSED);
}

static void test_details(void **state) {
  (void)state;
  for (int err = -1; err < 200; err++) {
    assert_non_null(wd_neterr_detail_remote(err));
    assert_non_null(wd_neterr_detail_local(err));
  }
  assert_string_equal(wd_neterr_detail_remote(ENETUNREACH), "network unreachable");
  assert_string_equal(wd_neterr_detail_local(ENETUNREACH), "no route to this address is configured on this machine");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_remote),
      cmocka_unit_test(test_local_never_blames_the_target),
      cmocka_unit_test(test_details),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
