// A thread that tells, in the log, of what holds the loop, and ends the process where somebody outside waits for that.
// Must hold: it sleeps until it is told something, and touches nothing but its mailbox and stderr.
#pragma once

#include <stdbool.h>

// Starts the thread; without it (no resources) nothing is told, and that is logged.
void wd_watchdog_open(void);
void wd_watchdog_close(void);

// A process that is about to end says so on this descriptor as well: "! FILE:LINE: budget: ...".
void wd_watchdog_report_to(int fd);

// The loop has made no pass for a while; `place` is who holds it, "" for waddle itself. `fatal`: the process ends with 1 once that is said. May be called from a
// signal handler; what comes while a message is on its way is dropped.
void wd_watchdog_tell(const char *place, bool fatal);
