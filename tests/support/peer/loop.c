// The peer's event loop: level-triggered epoll and a sorted list of timers. One thread, no locks.
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

enum { EVENTS_MAX = 64 };

static int epoll_fd = -1;
static struct timer *timers;
static struct epoll_event events[EVENTS_MAX];
static int events_left;

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void control(int op, struct watch *watch, uint32_t bits)
{
    struct epoll_event event = {.events = bits, .data.ptr = watch};
    if (epoll_fd < 0 && (epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) {
        perror("waddle-peer: epoll_create1");
        exit(1);
    }
    if (epoll_ctl(epoll_fd, op, watch->fd, &event) < 0) {
        perror("waddle-peer: epoll_ctl");
        exit(1);
    }
}

void loop_watch(struct watch *watch, uint32_t bits)
{
    control(EPOLL_CTL_ADD, watch, bits);
}

void loop_change(struct watch *watch, uint32_t bits)
{
    control(EPOLL_CTL_MOD, watch, bits);
}

void loop_unwatch(struct watch *watch)
{
    control(EPOLL_CTL_DEL, watch, 0);
    for (int i = 0; i < events_left; i++)
        if (events[i].data.ptr == watch)
            events[i].data.ptr = NULL;
}

void loop_cancel(struct timer *timer)
{
    if (!timer->armed)
        return;
    struct timer **at = &timers;
    while (*at != timer)
        at = &(*at)->next;
    *at = timer->next;
    timer->armed = false;
}

void loop_after(struct timer *timer, int64_t delay_ms)
{
    loop_cancel(timer);
    timer->due_ms = now_ms() + delay_ms;
    timer->armed = true;
    struct timer **at = &timers;
    while (*at && (*at)->due_ms <= timer->due_ms)
        at = &(*at)->next;
    timer->next = *at;
    *at = timer;
}

static int run_timers(void)
{
    while (timers) {
        int64_t left = timers->due_ms - now_ms();
        if (left > 0)
            return (int)left;
        struct timer *timer = timers;
        loop_cancel(timer);
        timer->fire(timer);
    }
    return -1;
}

void loop_run(void)
{
    for (;;) {
        int wait = run_timers();
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, wait);
        if (n < 0 && errno != EINTR) {
            perror("waddle-peer: epoll_wait");
            exit(1);
        }
        events_left = n < 0 ? 0 : n;
        for (int i = 0; i < events_left; i++) {
            struct watch *watch = events[i].data.ptr;
            if (watch)
                watch->ready(watch, events[i].events);
        }
        events_left = 0;
    }
}
