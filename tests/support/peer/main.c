// Opens every service on the loopback of both families, on one random port each, and says which.
//
//   waddle-peer LOGFILE [TLS-PORT]
//
// TLS-PORT is the port of a TLS server on 127.0.0.1, to which the STARTTLS services relay once they agreed to start. Standard output gets one line
// NAME=PORT a service and then an empty line; then nothing more, and the process serves until it is killed. Exit code 1: a port could not be opened.
//
// Three ports are never served: `tcp_closed` and `udp_closed` belong to nobody and stay so; `tcp_full` never answers a SYN, its queue being full.
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { TRIES = 50, BACKLOG = 1024 };

struct port {
    struct watch watch;
    const struct service *service;
};

struct sockaddr_in splice_address;
static bool have_v6 = true;

static void fail(const char *what)
{
    fprintf(stderr, "waddle-peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

// A bound socket on the loopback of `family`; `port` 0 picks one. -1 when the port is taken.
static int bound(int family, int type, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
    int on = 1;
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        fail("socket");
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    int rc = family == AF_INET ? bind(fd, (struct sockaddr *)&v4, sizeof v4) : bind(fd, (struct sockaddr *)&v6, sizeof v6);
    if (rc == 0)
        return fd;
    if (errno != EADDRINUSE)
        fail("bind");
    close(fd);
    return -1;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in address; // the port is at the same place in both families
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        fail("getsockname");
    return ntohs(address.sin_port);
}

// Sockets of one port number: of the given types, of both families where there are two. fds[] is filled as types[0]v4, types[0]v6, types[1]v4, ...
static uint16_t open_port(const int *types, int type_count, int *fds)
{
    int families = have_v6 ? 2 : 1;
    for (int try = 0; try < TRIES; try++) {
        uint16_t port = 0;
        int opened = 0;
        for (; opened < type_count * families; opened++) {
            fds[opened] = bound(opened % families ? AF_INET6 : AF_INET, types[opened / families], port);
            if (fds[opened] < 0)
                break;
            port = port_of(fds[opened]);
        }
        if (opened == type_count * families)
            return port;
        while (opened-- > 0)
            close(fds[opened]);
    }
    errno = EADDRINUSE;
    fail("no free port");
    return 0;
}

static void on_listener(struct watch *watch, uint32_t events)
{
    struct port *port = (struct port *)watch; // its first member
    (void)events;
    int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        conn_accept(port->service, fd);
}

static void on_datagram(struct watch *watch, uint32_t events)
{
    static uint8_t data[65536];
    struct port *port = (struct port *)watch;
    struct datagram got = {.fd = watch->fd, .data = data, .from_len = sizeof got.from};
    (void)events;
    ssize_t n = recvfrom(watch->fd, data, sizeof data, 0, (struct sockaddr *)&got.from, &got.from_len);
    if (n < 0)
        return;
    got.len = (size_t)n;
    log_event(port->service->name, 0, "datagram", (const char *)data, got.len);
    port->service->datagram(port->service, &got);
}

static void watch_fd(const struct service *service, int fd, bool stream)
{
    struct port *port = calloc(1, sizeof *port);
    if (!port)
        abort();
    *port = (struct port){.watch = {.fd = fd, .ready = stream ? on_listener : on_datagram}, .service = service};
    if (stream && listen(fd, BACKLOG) < 0)
        fail("listen");
    loop_watch(&port->watch, EPOLLIN);
}

static void open_services(const struct service *service)
{
    int families = have_v6 ? 2 : 1;
    for (; service->name; service++) {
        int fds[4], types[2], count = 0;
        // TCP's port first: it is the scarcer, ports in TIME_WAIT count as taken
        if (service->steps)
            types[count++] = SOCK_STREAM;
        if (service->datagram)
            types[count++] = SOCK_DGRAM;
        uint16_t port = open_port(types, count, fds);
        for (int i = 0; i < count * families; i++)
            watch_fd(service, fds[i], types[i / families] == SOCK_STREAM);
        printf("%s=%u\n", service->name, port);
    }
}

// A bound TCP socket that does not listen answers SYN with RST; a UDP socket connected elsewhere takes no datagram, so that the kernel answers
// port unreachable. Both keep the port from being given to anybody else.
static void open_closed(void)
{
    int fds[2];
    printf("tcp_closed=%u\n", open_port((const int[]){SOCK_STREAM}, 1, fds));
    printf("udp_closed=%u\n", open_port((const int[]){SOCK_DGRAM}, 1, fds));
    for (int i = 0; i < (have_v6 ? 2 : 1); i++) {
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        // its own address is as good as any: nothing is ever sent from there
        if (getsockname(fds[i], (struct sockaddr *)&address, &len) < 0 || connect(fds[i], (struct sockaddr *)&address, len) < 0)
            fail("connect");
    }
}

// With its accept queue full a listener drops every SYN (tcp(7), listen(2)): to a client the host is silent.
static void open_full(void)
{
    int fds[2];
    uint16_t port = open_port((const int[]){SOCK_STREAM}, 1, fds);
    for (int i = 0; i < (have_v6 ? 2 : 1); i++) {
        struct sockaddr_storage address;
        socklen_t len = sizeof address;
        if (listen(fds[i], 0) < 0 || getsockname(fds[i], (struct sockaddr *)&address, &len) < 0)
            fail("listen");
        for (int j = 0; j < 2; j++) {
            int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
            if (fd < 0 || (connect(fd, (struct sockaddr *)&address, len) < 0 && errno != EINPROGRESS))
                fail("filling a queue");
        }
    }
    printf("tcp_full=%u\n", port);
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3 || argv[1][0] == '-') {
        fputs("usage: waddle-peer LOGFILE [TLS-PORT]\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    log_open(argv[1]);
    if (argc == 3)
        splice_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    have_v6 = probe >= 0 && bind(probe, (struct sockaddr *)&v6, sizeof v6) == 0;
    if (probe >= 0)
        close(probe);
    open_services(tcp_services);
    open_services(udp_services);
    open_services(dns_services);
    open_closed();
    open_full();
    putchar('\n');
    fflush(stdout);
    loop_run();
}
