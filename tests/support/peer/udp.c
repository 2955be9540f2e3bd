// The peer's UDP services: echoes that are late, doubled, out of order, from elsewhere or damaged.
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct late_reply {
    struct timer timer;
    struct datagram to;
    size_t len;
    uint8_t data[];
};

void udp_reply(int fd, const struct datagram *to, const void *data, size_t len)
{
    // A reply that cannot leave is a lost datagram, which is what UDP promises.
    ssize_t n = sendto(fd, data, len, 0, (const struct sockaddr *)&to->from, to->from_len);
    (void)n;
}

static void on_late(struct timer *timer)
{
    struct late_reply *late = (struct late_reply *)timer; // its first member
    udp_reply(late->to.fd, &late->to, late->data, late->len);
    free(late);
}

void udp_reply_later(const struct datagram *to, const void *data, size_t len, int delay_ms)
{
    struct late_reply *late = calloc(1, sizeof *late + len);
    if (!late)
        abort();
    late->timer.fire = on_late;
    late->to = *to;
    late->len = len;
    memcpy(late->data, data, len);
    loop_after(&late->timer, delay_ms);
}

static void echo(const struct service *service, struct datagram *got)
{
    (void)service;
    udp_reply(got->fd, got, got->data, got->len);
}

static void silent(const struct service *service, struct datagram *got)
{
    (void)service;
    (void)got;
}

// As many replies as the service's number says.
static void duplicate(const struct service *service, struct datagram *got)
{
    for (int i = 0; i < service->number; i++)
        udp_reply(got->fd, got, got->data, got->len);
}

static void late(const struct service *service, struct datagram *got)
{
    udp_reply_later(got, got->data, got->len, service->number);
}

// Every first datagram of a pair waits for the second, whose reply goes out before it.
static void reordered(const struct service *service, struct datagram *got)
{
    static uint8_t held[65536];
    static size_t held_len;
    static bool holding;
    (void)service;
    if (holding) {
        udp_reply(got->fd, got, got->data, got->len);
        udp_reply(got->fd, got, held, held_len);
    } else {
        memcpy(held, got->data, got->len);
        held_len = got->len;
    }
    holding = !holding;
}

// The reply comes from another port of the same address.
static void foreign(const struct service *service, struct datagram *got)
{
    (void)service;
    int fd = socket(got->from.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    udp_reply(fd, got, got->data, got->len);
    close(fd);
}

static void truncated(const struct service *service, struct datagram *got)
{
    (void)service;
    udp_reply(got->fd, got, got->data, got->len / 2);
}

static void empty(const struct service *service, struct datagram *got)
{
    (void)service;
    udp_reply(got->fd, got, "", 0);
}

static void garbled(const struct service *service, struct datagram *got)
{
    uint8_t data[65536];
    (void)service;
    for (size_t i = 0; i < got->len; i++)
        data[i] = got->data[i] ^ 0x5a;
    udp_reply(got->fd, got, data, got->len);
}

// Answers every second datagram.
static void lossy(const struct service *service, struct datagram *got)
{
    static unsigned count;
    (void)service;
    if (++count % 2)
        udp_reply(got->fd, got, got->data, got->len);
}

static void longer(const struct service *service, struct datagram *got)
{
    uint8_t data[65536 + 16];
    (void)service;
    memcpy(data, got->data, got->len);
    memset(data + got->len, '+', 16);
    udp_reply(got->fd, got, data, got->len + 16);
}

const struct service udp_services[] = {
    {.name = "udp_echo", .datagram = echo},
    {.name = "udp_silent", .datagram = silent},
    {.name = "udp_duplicate", .datagram = duplicate, .number = 2},
    {.name = "udp_late_30", .datagram = late, .number = 30},
    {.name = "udp_late_300", .datagram = late, .number = 300},
    {.name = "udp_reordered", .datagram = reordered},
    {.name = "udp_foreign", .datagram = foreign},
    {.name = "udp_truncated", .datagram = truncated},
    {.name = "udp_empty", .datagram = empty},
    {.name = "udp_garbled", .datagram = garbled},
    {.name = "udp_lossy", .datagram = lossy},
    {.name = "udp_longer", .datagram = longer},
    {0},
};
