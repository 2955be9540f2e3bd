// The peer's DNS services: one port a fault, over UDP and TCP alike (RFC 1035 section 4.2). Every question is logged as "query" NAME TYPE u|t.
//
// Where there is an answer it is 127.0.0.1 for A and ::1 for AAAA whatever the name, both for ANY, with a TTL of 60 s, and an empty answer for any
// other type. dns_cname puts an alias before it, from NAME to real.NAME.
#include "conn.h"

#include <stdio.h>
#include <string.h>

enum {
    HEADER = 12,
    MESSAGE_MAX = 1024,
    NAMES_MAX = 256,
    TYPE_A = 1,
    TYPE_AAAA = 28,
    TYPE_ANY = 255,
    RCODE_FORMERR = 1,
    RCODE_SERVFAIL = 2,
    RCODE_NXDOMAIN = 3,
    RCODE_NOTIMP = 4,
    RCODE_REFUSED = 5,
    FLAG_TC = 0x02, // of the header's third byte
};

struct question {
    const uint8_t *data;
    size_t len; // header and first question
    char name[256];
    unsigned type;
};

struct message {
    uint8_t data[MESSAGE_MAX];
    size_t len;
};

static bool parse(struct question *question, const uint8_t *data, size_t len)
{
    size_t at = HEADER, out = 0;
    while (at < len && data[at] && data[at] < 64 && at + data[at] < len && out + data[at] + 2u < sizeof question->name) {
        memcpy(question->name + out, data + at + 1, data[at]);
        out += data[at];
        question->name[out++] = '.';
        at += 1u + data[at];
    }
    if (at + 5 > len || data[at])
        return false;
    question->name[out] = 0;
    question->type = (unsigned)data[at + 1] << 8 | data[at + 2];
    question->data = data;
    question->len = at + 5;
    return question->len < MESSAGE_MAX - 64;
}

// Header and question as they came, marked as a response (QR, RA) with no records.
static void respond(struct message *message, const struct question *question, int rcode)
{
    memcpy(message->data, question->data, question->len);
    message->len = question->len;
    message->data[2] = (uint8_t)(0x80 | (question->data[2] & 0x79)); // QR; opcode and RD as asked
    message->data[3] = (uint8_t)(0x80 | rcode);                      // RA
    memset(message->data + 6, 0, 6);                                 // no answer, authority, additional
    message->data[5] = 1;
}

static void add(struct message *message, const uint8_t *record, size_t len)
{
    memcpy(message->data + message->len, record, len);
    message->len += len;
    message->data[7]++;
}

// The alias, and where its target's name begins in the message: pointers of two bytes (RFC 1035 section 4.1.4) refer to names by their offset.
static uint8_t add_alias(struct message *message)
{
    static const uint8_t alias[] = {0xc0, HEADER, 0, 5, 0, 1, 0, 0, 0, 60, 0, 7, 4, 'r', 'e', 'a', 'l', 0xc0, HEADER};
    uint8_t target = (uint8_t)(message->len + 12);
    add(message, alias, sizeof alias);
    return target;
}

static void add_addresses(struct message *message, unsigned type, uint8_t owner)
{
    const uint8_t a[] = {0xc0, owner, 0, TYPE_A, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1};
    const uint8_t aaaa[] = {0xc0, owner, 0, TYPE_AAAA, 0, 1, 0, 0, 0, 60, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    if (type == TYPE_A || type == TYPE_ANY)
        add(message, a, sizeof a);
    if (type == TYPE_AAAA || type == TYPE_ANY)
        add(message, aaaa, sizeof aaaa);
}

enum fault {
    GOOD, CNAME, SILENT, DROP_FIRST, WRONG_ID, WRONG_QUESTION, ALWAYS_TC, TC_TCP_SILENT, TC_TCP_FIN, GARBAGE, SHORT, LATE, DUPLICATE, NOT_RESPONSE,
    RCODES = 100, // and the code
};

// True the first time it sees this name and type.
static bool first_time(const struct question *question)
{
    static char seen[NAMES_MAX][256];
    static unsigned types[NAMES_MAX], count;
    for (unsigned i = 0; i < count && i < NAMES_MAX; i++)
        if (types[i] == question->type && strcmp(seen[i], question->name) == 0)
            return false;
    snprintf(seen[count % NAMES_MAX], sizeof seen[0], "%s", question->name);
    types[count % NAMES_MAX] = question->type;
    count++;
    return true;
}

// Builds what the fault answers. False when it does not answer.
static bool build(struct message *message, int fault, const struct question *question, bool stream)
{
    respond(message, question, fault >= RCODES ? fault - RCODES : 0);
    if (fault >= RCODES)
        return true;
    if (fault == SILENT || (fault == DROP_FIRST && !stream && first_time(question)) || (fault == TC_TCP_SILENT && stream))
        return false;
    if ((fault == ALWAYS_TC || fault == TC_TCP_SILENT || fault == TC_TCP_FIN) && !stream) {
        message->data[2] |= FLAG_TC;
        return true;
    }
    add_addresses(message, question->type, fault == CNAME && question->len < 240 ? add_alias(message) : HEADER);
    if (fault == WRONG_ID)
        message->data[0] ^= 0xff;
    if (fault == WRONG_QUESTION)
        message->data[HEADER + 1] = message->data[HEADER + 1] == 'q' ? 'r' : 'q';
    if (fault == NOT_RESPONSE)
        message->data[2] &= 0x7f;
    if (fault == SHORT)
        message->len -= 5;
    if (fault == GARBAGE)
        memset(message->data + 2, 0xee, message->len - 2);
    return true;
}

static bool ask(struct message *message, const struct service *service, unsigned id, const uint8_t *data, size_t len, bool stream)
{
    struct question question;
    char text[300];
    if (!parse(&question, data, len)) {
        log_event(service->name, id, "unexpected", (const char *)data, len);
        return false;
    }
    snprintf(text, sizeof text, "%s %u %s", question.name, question.type, stream ? "t" : "u");
    log_text(service->name, id, "query", text);
    return build(message, service->number, &question, stream);
}

static void answer(const struct service *service, struct datagram *got)
{
    struct message message;
    if (!ask(&message, service, 0, got->data, got->len, false))
        return;
    if (service->number == LATE) {
        udp_reply_later(got, message.data, message.len, 300);
        return;
    }
    udp_reply(got->fd, got, message.data, message.len);
    if (service->number == DUPLICATE)
        udp_reply(got->fd, got, message.data, message.len);
}

void dns_stream_message(struct conn *conn, const struct service *service, const uint8_t *data, size_t len)
{
    static const struct step then_fin[] = {{STEP_FIN, 0, 0}, {STEP_SILENT, 0, 0}};
    struct message message;
    if (service->number == TC_TCP_FIN) {
        conn_follow(conn, then_fin);
    } else if (ask(&message, service, conn->id, data, len, true)) {
        uint8_t length[2] = {(uint8_t)(message.len >> 8), (uint8_t)message.len};
        buffer_add(&conn->out, length, 2);
        buffer_add(&conn->out, message.data, message.len);
    }
}

static const struct step serve[] = {{STEP_DNS, 0, 0}};

#define DNS(fault_name, fault) {.name = "dns_" fault_name, .steps = serve, .datagram = answer, .number = fault}

const struct service dns_services[] = {
    DNS("good", GOOD),
    DNS("cname", CNAME),
    DNS("silent", SILENT),
    DNS("drop_first", DROP_FIRST),
    DNS("wrong_id", WRONG_ID),
    DNS("wrong_question", WRONG_QUESTION),
    DNS("tc", ALWAYS_TC),
    DNS("tc_tcp_silent", TC_TCP_SILENT),
    DNS("tc_tcp_fin", TC_TCP_FIN),
    DNS("garbage", GARBAGE),
    DNS("short", SHORT),
    DNS("late_300", LATE),
    DNS("duplicate", DUPLICATE),
    DNS("not_response", NOT_RESPONSE),
    DNS("formerr", RCODES + RCODE_FORMERR),
    DNS("servfail", RCODES + RCODE_SERVFAIL),
    DNS("nxdomain", RCODES + RCODE_NXDOMAIN),
    DNS("notimp", RCODES + RCODE_NOTIMP),
    DNS("refused", RCODES + RCODE_REFUSED),
    {0},
};
