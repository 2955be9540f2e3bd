// One accepted connection of the peer, run through the steps of its service.
#pragma once

#include "peer.h"

struct buffer {
    char *data;
    size_t len, cap;
};

void buffer_add(struct buffer *buffer, const void *data, size_t len);
void buffer_drop(struct buffer *buffer, size_t len); // from the front

struct conn {
    struct watch watch;
    struct timer timer; // the end of a delay, or the next byte of a drip
    const struct service *service;
    const struct step *step;
    unsigned id;
    uint32_t bits;      // what the loop watches for
    struct buffer in, out;
    uint64_t fill;      // bytes of filler that follow `out`
    int hold_ms;        // above 0: nothing leaves before this time has passed
    int drip_ms;        // above 0: `out` leaves one byte at a time,
    size_t burst;       // but for so many bytes at its front
    bool client_closed; // its FIN was read
    bool blocked;       // the last write met a full socket
    bool delayed;       // the step's delay has begun
    char tag[32];       // IMAP
    struct conn *other; // the far side of a splice
    struct http_request {
        struct buffer head; // with its empty line; no length: no request was begun
        struct buffer body; // its first MiB
        uint64_t received;  // bytes of body
        uint64_t left;      // of the body, or of its current chunk
        bool chunked, ended;
    } http;
};

void conn_send(struct conn *conn, const char *text);
void conn_printf(struct conn *conn, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Goes on with other steps once everything queued has left.
void conn_follow(struct conn *conn, const struct step *steps);

// Looks at conn->in for (more of) a request and answers it; false when more input is needed.
bool http_turn(struct conn *conn);
