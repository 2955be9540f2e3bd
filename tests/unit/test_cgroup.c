// The texts of /proc and of cpu.stat, as systems of several kinds write them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cgroup.h"

#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNTS \
  "31 23 0:27 / /sys/fs/cgroup/cpuset rw,relatime shared:10 - cgroup cgroup rw,cpuset\n" \
  "32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:11 - cgroup cgroup rw,cpu,cpuacct\n"

static void expect_folder(const char *cgroup, const char *mounts, const char *expected) {
  char folder[256];
  size_t top;
  bool found = wd_cgroup_cpu_folder(cgroup, mounts, folder, sizeof(folder), &top);
  assert_int_equal(found, expected != NULL);
  if (!expected) return;
  assert_string_equal(folder, expected);
  assert_true(top <= strlen(folder) && (folder[top] == '/' || folder[top] == '\0'));
}

static void test_version_2(void **state) {
  (void)state;
  expect_folder("0::/system.slice/waddle.service\n", V2_MOUNT, "/sys/fs/cgroup/system.slice/waddle.service");
  expect_folder("0::/\n", V2_MOUNT, "/sys/fs/cgroup");
  expect_folder("0::/user.slice", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" V2_MOUNT, "/sys/fs/cgroup/user.slice");
}

static void test_version_1(void **state) {
  (void)state;
  expect_folder("5:cpuset:/a\n4:cpuacct,cpu:/docker/1\n0::/b\n", V1_MOUNTS V2_MOUNT, "/sys/fs/cgroup/cpu,cpuacct/docker/1");
  expect_folder("0::/b\n4:cpu:/\n", V1_MOUNTS V2_MOUNT, "/sys/fs/cgroup/cpu,cpuacct");
  expect_folder("5:cpuset:/a\n0::/b\n", V1_MOUNTS V2_MOUNT, "/sys/fs/cgroup/b"); // cpu is with version 2
}

static void test_container(void **state) {
  (void)state;
  static const char mount[] = "9 8 0:28 /docker/1 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n";
  expect_folder("4:cpu:/docker/1\n", mount, "/sys/fs/cgroup/cpu");
  expect_folder("4:cpu:/docker/1/job\n", mount, "/sys/fs/cgroup/cpu/job");
  expect_folder("4:cpu:/docker/17\n", mount, NULL);
  expect_folder("0::/../other\n", V2_MOUNT, NULL);
}

static void test_nothing(void **state) {
  (void)state;
  char folder[8];
  size_t top;
  expect_folder("", V2_MOUNT, NULL);
  expect_folder("0::/a\n", "", NULL);
  expect_folder("0::/a\n", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", NULL);
  expect_folder("4:cpuset,cpuacct:/a\n", V1_MOUNTS, NULL);
  expect_folder("rubbish\n:::\n4:cpu\n0::\n", "rubbish\n - \n - cgroup2\n", NULL);
  assert_false(wd_cgroup_cpu_folder("0::/a\n", V2_MOUNT, folder, sizeof(folder), &top));
}

static void test_stat(void **state) {
  (void)state;
  assert_int_equal(wd_cgroup_throttled("nr_periods 9\nnr_throttled 7\nthrottled_time 5\n"), 7);
  assert_int_equal(wd_cgroup_throttled("usage_usec 12\nuser_usec 8\nsystem_usec 4\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"), 0);
  assert_int_equal(wd_cgroup_throttled("nr_throttled 3"), 3);
  assert_int_equal(wd_cgroup_throttled("usage_usec 12\nuser_usec 8\n"), -1); // no cpu controller in this group
  assert_int_equal(wd_cgroup_throttled("xnr_throttled 3\n"), -1);
  assert_int_equal(wd_cgroup_throttled(""), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_version_2), cmocka_unit_test(test_version_1), cmocka_unit_test(test_container),
                                     cmocka_unit_test(test_nothing), cmocka_unit_test(test_stat)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
