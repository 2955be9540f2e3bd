// The figures made of samples: by hand, and absent where there is nothing to say.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "probes/packet_stats.h"
#include "runtime/desc.h"

static const struct wd_desc desc = {"result", wd_packet_result_fields, sizeof(struct wd_packet_result)};

static struct wd_packet_result figures(struct wd_packet_sample *samples, size_t n, int64_t sent, int64_t overflowed) {
  struct wd_packet_result r;
  struct wd_packet_jitter jitter = {0};
  wd_desc_clear(&desc, &r);
  r.sent = sent;
  r.overflowed = overflowed;
  r.samples = (struct wd_list){.items = samples, .n = n, .given = true};
  for (size_t i = 0; i < n; i++)
    if (samples[i].status == WD_SAMPLE_OK) wd_packet_jitter_add(&jitter, samples[i].rtt);
  wd_packet_stats(&r, &jitter);
  return r;
}

static void test_all_kinds(void **state) {
  (void)state;
  struct wd_packet_sample samples[] = {
      {.status = WD_SAMPLE_OK, .rtt = 10 * WD_MS}, {.status = WD_SAMPLE_LOST, .rtt = WD_NONE},
      {.status = WD_SAMPLE_OK, .rtt = 26 * WD_MS}, {.status = WD_SAMPLE_LATE, .rtt = 99 * WD_S},
      {.status = WD_SAMPLE_OK, .rtt = 18 * WD_MS},
  };
  struct wd_packet_result r = figures(samples, 5, 5, 0);
  assert_int_equal(r.received, 3);
  assert_int_equal(r.late, 1);
  assert_true(r.loss_percent > 39.999 && r.loss_percent < 40.001);
  assert_int_equal(r.rtt_min, 10 * WD_MS);
  assert_int_equal(r.rtt_avg, 18 * WD_MS);
  assert_int_equal(r.rtt_max, 26 * WD_MS);
  assert_int_equal(r.common.latency, r.rtt_avg);
  assert_int_equal(r.jitter, 12 * WD_MS);      // (16 + 8) / 2
  assert_int_equal(r.jitter_rfc3550, 1437500); // 1 ms, then 1 + (8 - 1) / 16
}

static void test_absent(void **state) {
  (void)state;
  struct wd_packet_sample lost = {.status = WD_SAMPLE_LOST, .rtt = WD_NONE}, ok = {.status = WD_SAMPLE_OK, .rtt = WD_MS};
  struct wd_packet_sample unsent = {.status = WD_SAMPLE_ERROR, .rtt = WD_NONE, .error = WD_E_LOCAL};
  struct wd_packet_result r = figures(&lost, 1, 1, 0);
  assert_true(r.loss_percent == 100.0);
  assert_true(r.rtt_avg == WD_NONE && r.common.latency == WD_NONE && r.jitter == WD_NONE && r.jitter_rfc3550 == WD_NONE);
  r = figures(&ok, 1, 1, 0);
  assert_true(r.rtt_avg == WD_MS && r.loss_percent == 0.0 && r.jitter == WD_NONE && r.jitter_rfc3550 == WD_NONE);
  r = figures(&unsent, 1, 0, 0);
  assert_true(isnan(r.loss_percent));
}

// What our own buffer dropped is not the path's loss.
static void test_overflowed(void **state) {
  (void)state;
  struct wd_packet_sample samples[] = {
      {.status = WD_SAMPLE_OK, .rtt = WD_MS},
      {.status = WD_SAMPLE_ERROR, .rtt = WD_NONE, .error = WD_E_LOCAL},
      {.status = WD_SAMPLE_LOST, .rtt = WD_NONE},
  };
  struct wd_packet_result r = figures(samples, 3, 3, 1);
  assert_true(r.loss_percent == 50.0);
  r = figures(&samples[1], 1, 1, 1);
  assert_true(isnan(r.loss_percent));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_kinds), cmocka_unit_test(test_absent),
                                     cmocka_unit_test(test_overflowed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
