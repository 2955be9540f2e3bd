// waddle-peer: one process with many misbehaving servers, each on a port of its own, for the tests.
//
// Every port is a *service*: a name and a behaviour. Most TCP behaviours are data, a list of steps (scripts.c); HTTP is one service whose request path
// chooses the fault (http.c); UDP and DNS faults are one small function each (udp.c, dns.c). What clients did is appended to a log (log.c).
// Nothing here checks its input the way a server must: it listens on the loopback of a test, for the length of that test.
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

// ---- loop.c: one epoll descriptor and a list of timers ----

struct watch {
    int fd;
    void (*ready)(struct watch *watch, uint32_t events); // epoll's event bits
};

struct timer {
    void (*fire)(struct timer *timer);
    int64_t due_ms;
    bool armed;
    struct timer *next;
};

void loop_watch(struct watch *watch, uint32_t events);   // starts watching
void loop_change(struct watch *watch, uint32_t events);  // changes the bits of a watched fd
void loop_unwatch(struct watch *watch);                  // stops; a ready watch of the same round is not called any more
void loop_after(struct timer *timer, int64_t delay_ms);  // arms the timer; an armed one is moved
void loop_cancel(struct timer *timer);                   // does nothing to a timer that is not armed
void loop_run(void);                                     // never returns
int64_t now_ms(void);                                    // monotonic

// ---- log.c ----

// Appends one line, SERVICE TAB CONNECTION TAB EVENT TAB DETAIL. At most 512 bytes of detail are kept; what does not print is written as \xNN.
// The line is in the file when the call returns, so a client that has its answer finds it there.
void log_open(const char *path);
void log_event(const char *service, unsigned id, const char *event, const char *detail, size_t len);
void log_text(const char *service, unsigned id, const char *event, const char *text);

// ---- services ----

struct conn;
struct datagram {
    int fd;
    struct sockaddr_storage from;
    socklen_t from_len;
    const uint8_t *data;
    size_t len;
};

enum step_kind {
    STEP_END = 0,   // the same as STEP_SILENT: every script ends in silence
    STEP_SILENT,    // read and drop what comes until the client closes
    STEP_DEAF,      // never read
    STEP_SEND,      // text
    STEP_SEND_TAG,  // the tag of the last tagged line, then text (IMAP)
    STEP_DRIP,      // text, one byte every `number` ms
    STEP_ENDLESS,   // text again and again for as long as the client reads
    STEP_LINE,      // wait for a line that begins with text (case does not matter); another line ends the script with FIN
    STEP_TAG_LINE,  // the same behind a tag
    STEP_BYTES,     // wait for `number` bytes; with text they must be equal to it, else FIN
    STEP_DELAY,     // wait `number` ms
    STEP_ECHO,      // send back what comes
    STEP_FIN,       // close our direction, read on until the client closes
    STEP_RESET,     // RST
    STEP_SPLICE,    // relay to the TLS server given on the command line
    STEP_HTTP,      // serve HTTP requests
    STEP_DNS,       // serve DNS messages with their two-byte lengths
};

struct step {
    enum step_kind kind;
    const char *text;
    size_t number; // length of the text unless it holds no zero byte; count or ms where the kind says so
};

struct service {
    const char *name;
    const struct step *steps;                                              // TCP
    void (*datagram)(const struct service *service, struct datagram *got); // UDP; DNS services have both
    int number;                                                            // what the behaviour is tuned by, its meaning is the behaviour's
};

extern const struct service tcp_services[];  // scripts.c; ends with name NULL, as all four
extern const struct service udp_services[];  // udp.c
extern const struct service dns_services[];  // dns.c
extern struct sockaddr_in splice_address;    // main.c; port 0 without a TLS server

void conn_accept(const struct service *service, int fd); // conn.c; takes the accepted fd

// A reply to a datagram, now or after a delay; `fd` of the datagram or another.
void udp_reply(int fd, const struct datagram *to, const void *data, size_t len);
void udp_reply_later(const struct datagram *to, const void *data, size_t len, int delay_ms);

// Answers one DNS message that came over TCP, or ends the connection.
void dns_stream_message(struct conn *conn, const struct service *service, const uint8_t *data, size_t len);
