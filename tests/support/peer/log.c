// The peer's log: what clients did, one line an event, written at once.
#include "peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DETAIL_MAX = 512 };

static int log_fd = -1;

void log_open(const char *path)
{
    log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) {
        fprintf(stderr, "waddle-peer: %s: ", path);
        perror("cannot write the log");
        exit(1);
    }
}

void log_event(const char *service, unsigned id, const char *event, const char *detail, size_t len)
{
    if (log_fd < 0)
        return;
    char line[256 + 4 * DETAIL_MAX];
    int at = snprintf(line, 256, "%s\t%u\t%s\t", service, id, event);
    for (size_t i = 0; i < len && i < DETAIL_MAX; i++) {
        unsigned char byte = (unsigned char)detail[i];
        if (byte >= 0x20 && byte < 0x7f && byte != '\\')
            line[at++] = (char)byte;
        else
            at += snprintf(line + at, 5, "\\x%02x", byte);
    }
    line[at++] = '\n';
    if (write(log_fd, line, (size_t)at) != at)
        exit(1); // a log with holes would make tests lie
}

void log_text(const char *service, unsigned id, const char *event, const char *text)
{
    log_event(service, id, event, text, strlen(text));
}
