// The TCP services that are nothing but lists of steps: silence and resets, SSH banners, STARTTLS dialogues, faults in the TLS handshake.
#include "peer.h"

#define SEND(s) {STEP_SEND, s, 0}
#define SEND_TAG(s) {STEP_SEND_TAG, s, 0}
#define DRIP(s, ms) {STEP_DRIP, s, ms}
#define LINE(s) {STEP_LINE, s, 0}
#define TAG_LINE(s) {STEP_TAG_LINE, s, 0}
#define BYTES(s, n) {STEP_BYTES, s, n}
#define SEND_BYTES(s, n) {STEP_SEND, s, n}
#define DELAY(ms) {STEP_DELAY, 0, ms}
#define STEP(kind) {STEP_##kind, 0, 0}
#define STEPS(...) ((const struct step[]){__VA_ARGS__, {0}})

enum {
    DRIP_MS = 20,
    BEFORE_RESET_MS = 50,     // lets the client read what was sent before the RST overtakes it in its event loop
    CLIENT_HELLO_START = 6,   // record header and handshake type: enough to know that the handshake began
};

#define GARBAGE "\x01\x02\xff\xfe GARBAGE \x80\x81 \n\n\r\n %s %n 0x41414141\r\n"
// RFC 8446 section 6: level fatal, description 40 (handshake_failure) and 112 (unrecognized_name)
#define ALERT_FAILURE "\x15\x03\x03\x00\x02\x02\x28"
#define ALERT_NAME "\x15\x03\x03\x00\x02\x02\x70"
// A ServerHello record of 0x7a bytes of which only the first few ever come
#define HALF_SERVER_HELLO "\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"
// PostgreSQL, "Message Formats": SSLRequest
#define SSL_REQUEST "\x00\x00\x00\x08\x04\xd2\x16\x2f"

#define SMTP_HELLO SEND("220 peer.test ESMTP ready\r\n"), LINE("EHLO ")
#define SMTP_OFFER SEND("250-peer.test\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 HELP\r\n"), LINE("STARTTLS")
#define IMAP_HELLO SEND("* OK IMAP4rev1 peer.test ready\r\n")
#define POP3_HELLO SEND("+OK POP3 peer.test ready\r\n"), LINE("STLS")
#define FTP_HELLO SEND("220-peer.test\r\n220 FTP ready\r\n"), LINE("AUTH TLS")

const struct service tcp_services[] = {
    {.name = "tcp_silent", .steps = STEPS(STEP(SILENT))},
    {.name = "tcp_deaf", .steps = STEPS(STEP(DEAF))},
    {.name = "tcp_reset", .steps = STEPS(STEP(RESET))},
    {.name = "tcp_reset_after_5", .steps = STEPS(BYTES(0, 5), STEP(RESET))},
    {.name = "tcp_fin", .steps = STEPS(STEP(FIN))},
    {.name = "tcp_half_close", .steps = STEPS(SEND("bye\n"), STEP(FIN))},
    {.name = "tcp_drip", .steps = STEPS(DRIP("the quick brown fox jumps over the lazy dog\n", DRIP_MS))},
    {.name = "tcp_garbage", .steps = STEPS(SEND(GARBAGE))},
    {.name = "tcp_endless", .steps = STEPS({STEP_ENDLESS, "no end of it and never a line feed ", 0})},
    {.name = "tcp_echo", .steps = STEPS(STEP(ECHO))},
    {.name = "tcp_dialogue", .steps = STEPS(SEND("220 ready\r\n"), LINE("HELO "), SEND("250 hello\r\n"), LINE("QUIT"), SEND("221 bye\r\n"), STEP(FIN))},

    {.name = "ssh_good", .steps = STEPS(SEND("SSH-2.0-OpenPeer_9.9 Debian-1\r\n"))},
    {.name = "ssh_199", .steps = STEPS(SEND("SSH-1.99-Old_Peer\r\n"))},
    {.name = "ssh_one", .steps = STEPS(SEND("SSH-1.5-Ancient\r\n"))},
    {.name = "ssh_lf", .steps = STEPS(SEND("SSH-2.0-BareLineFeed\n"))},
    {.name = "ssh_lines_first", .steps = STEPS(SEND("welcome to peer.test\r\nno SSH on this line\r\nSSH-2.0-AfterLines_1\r\n"))},
    {.name = "ssh_wrong", .steps = STEPS(SEND("220 peer.test ESMTP ready\r\n"), STEP(FIN))},
    {.name = "ssh_endless_lines", .steps = STEPS({STEP_ENDLESS, "not yet\r\n", 0})},
    {.name = "ssh_slow", .steps = STEPS(DELAY(200), SEND("SSH-2.0-Slow_Peer\r\n"))},
    {.name = "ssh_drip", .steps = STEPS(DRIP("SSH-2.0-Dripping_Peer\r\n", DRIP_MS))},

    {.name = "smtp", .steps = STEPS(SMTP_HELLO, SMTP_OFFER, SEND("220 go ahead\r\n"), STEP(SPLICE))},
    {.name = "smtp_refuse", .steps = STEPS(SMTP_HELLO, SMTP_OFFER, SEND("454 TLS not available\r\n"), STEP(FIN))},
    {.name = "smtp_no_offer", .steps = STEPS(SMTP_HELLO, SEND("250-peer.test\r\n250 HELP\r\n"), LINE("STARTTLS"), SEND("502 not implemented\r\n"), STEP(FIN))},
    {.name = "smtp_garbage", .steps = STEPS(SMTP_HELLO, SMTP_OFFER, SEND("220 go ahead\r\n"), BYTES(0, CLIENT_HELLO_START), SEND(GARBAGE), STEP(FIN))},
    {.name = "smtp_busy", .steps = STEPS(SEND("421 try later\r\n"), STEP(FIN))},
    {.name = "smtp_injected", .steps = STEPS(SMTP_HELLO, SMTP_OFFER, SEND("220 go ahead\r\n250 injected\r\n"), STEP(SPLICE))},
    {.name = "imap", .steps = STEPS(IMAP_HELLO, TAG_LINE("STARTTLS"), SEND_TAG("OK begin TLS\r\n"), STEP(SPLICE))},
    {.name = "imap_refuse", .steps = STEPS(IMAP_HELLO, TAG_LINE("STARTTLS"), SEND_TAG("NO not today\r\n"), STEP(FIN))},
    {.name = "imap_garbage", .steps = STEPS(SEND(GARBAGE), STEP(FIN))},
    {.name = "pop3", .steps = STEPS(POP3_HELLO, SEND("+OK begin TLS\r\n"), STEP(SPLICE))},
    {.name = "pop3_refuse", .steps = STEPS(POP3_HELLO, SEND("-ERR not today\r\n"), STEP(FIN))},
    {.name = "pop3_garbage", .steps = STEPS(SEND(GARBAGE), STEP(FIN))},
    {.name = "ftp", .steps = STEPS(FTP_HELLO, SEND("234 proceed\r\n"), STEP(SPLICE))},
    {.name = "ftp_refuse", .steps = STEPS(FTP_HELLO, SEND("504 unknown security mechanism\r\n"), STEP(FIN))},
    {.name = "ftp_garbage", .steps = STEPS(SEND(GARBAGE), STEP(FIN))},
    {.name = "postgres", .steps = STEPS(BYTES(SSL_REQUEST, 8), SEND("S"), STEP(SPLICE))},
    {.name = "postgres_refuse", .steps = STEPS(BYTES(SSL_REQUEST, 8), SEND("N"))},
    {.name = "postgres_garbage", .steps = STEPS(BYTES(SSL_REQUEST, 8), SEND("?"))},

    {.name = "tls_alert", .steps = STEPS(BYTES(0, CLIENT_HELLO_START), SEND_BYTES(ALERT_FAILURE, 7), STEP(FIN))},
    {.name = "tls_alert_name", .steps = STEPS(BYTES(0, CLIENT_HELLO_START), SEND_BYTES(ALERT_NAME, 7), STEP(FIN))},
    {.name = "tls_fin", .steps = STEPS(BYTES(0, CLIENT_HELLO_START), STEP(FIN))},
    {.name = "tls_reset", .steps = STEPS(BYTES(0, CLIENT_HELLO_START), STEP(RESET))},
    {.name = "tls_stall", .steps = STEPS(BYTES(0, CLIENT_HELLO_START), SEND_BYTES(HALF_SERVER_HELLO, 11))},
    {.name = "tls_half_fin", .steps = STEPS(BYTES(0, CLIENT_HELLO_START), SEND_BYTES(HALF_SERVER_HELLO, 11), STEP(FIN))},
    {.name = "tls_half_reset", .steps = STEPS(BYTES(0, CLIENT_HELLO_START), SEND_BYTES(HALF_SERVER_HELLO, 11), DELAY(BEFORE_RESET_MS), STEP(RESET))},
    {.name = "tls_plain_http", .steps = STEPS(BYTES(0, CLIENT_HELLO_START), SEND("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), STEP(FIN))},

    {.name = "http", .steps = STEPS(STEP(HTTP))},
    {0},
};
