// Watching descriptors that are handed over: the next owner hears of them, nobody else does, and numbers used again do no harm.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/watch.h"

struct owner {
  struct wd_watch watch;
  int heard;
  uint32_t events;
};

static struct wd_loop loop;

static void on_event(struct wd_watch *w, uint32_t events) {
  struct owner *owner = WD_CONTAINER(w, struct owner, watch);
  owner->heard++;
  owner->events = events;
}

static struct owner new_owner(void) {
  return (struct owner){.watch = {.fd = -1, .on_event = on_event}};
}

static int setup(void **state) {
  (void)state;
  return wd_loop_open(&loop);
}

static int teardown(void **state) {
  (void)state;
  return wd_loop_close(&loop);
}

static void test_the_next_owner_hears(void **state) {
  (void)state;
  struct owner first = new_owner(), second = new_owner();
  int pair[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  assert_int_equal(wd_watch_start(&loop, &first.watch, pair[0], EPOLLOUT), 0);
  wd_watch_hand_over(&first.watch);
  assert_false(wd_watch_active(&first.watch));
  assert_int_equal(wd_watch_start(&loop, &second.watch, pair[0], EPOLLIN), 0);
  wd_watch_dispatch(&loop, 1);
  assert_int_equal(second.heard, 0); // it can be written, which only the first asked for
  assert_int_equal(write(pair[1], "x", 1), 1);
  wd_watch_dispatch(&loop, 1);
  assert_int_equal(second.heard, 1);
  assert_int_equal(second.events, EPOLLIN);
  assert_int_equal(first.heard, 0);
  wd_watch_close(&second.watch);
  close(pair[1]);
}

// Else the loop would spin on a socket that is always ready.
static void test_what_nobody_took_leaves_the_set(void **state) {
  (void)state;
  struct owner first = new_owner();
  struct epoll_event event;
  int pair[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  assert_int_equal(wd_watch_start(&loop, &first.watch, pair[0], EPOLLOUT), 0);
  wd_watch_hand_over(&first.watch);
  assert_int_equal(epoll_wait(loop.epoll_fd, &event, 1, 0), 1);
  wd_watch_dispatch(&loop, 1);
  assert_int_equal(epoll_wait(loop.epoll_fd, &event, 1, 0), 0);
  assert_int_equal(first.heard, 0);
  wd_watch_close_fd(&loop, pair[0]);
  close(pair[1]);
}

static void test_a_number_used_again(void **state) {
  (void)state;
  for (int told = 0; told < 2; told++) {
    struct owner first = new_owner(), second = new_owner();
    int pair[2], again[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(wd_watch_start(&loop, &first.watch, pair[0], EPOLLOUT), 0);
    wd_watch_hand_over(&first.watch);
    if (told)
      wd_watch_close_fd(&loop, pair[0]);
    else
      close(pair[0]);
    close(pair[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, again), 0);
    assert_int_equal(again[0], pair[0]);
    assert_int_equal(wd_watch_start(&loop, &second.watch, again[0], EPOLLOUT), 0);
    wd_watch_dispatch(&loop, 1);
    assert_int_equal(first.heard, 0);
    assert_int_equal(second.heard, 1);
    wd_watch_close(&second.watch);
    close(again[1]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_next_owner_hears),
      cmocka_unit_test(test_what_nobody_took_leaves_the_set),
      cmocka_unit_test(test_a_number_used_again),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
