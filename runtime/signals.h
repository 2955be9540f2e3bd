// SIGINT, SIGTERM and SIGHUP. A script that waits for a signal (sys.signal) gets it; otherwise, and
// at the second time, SIGINT and SIGTERM end the script, even one deep in pure Lua.
#pragma once

#include "runtime/vm.h"

void wd_signals_open(struct wd_vm *vm);

// To be called when no task is left, before the vm and its loop are closed: from here on these signals are ignored, the process is
// about to end anyway.
void wd_signals_close(void);

// Called once per pass: hands signals to waiting tasks, ends the script if one asked for that.
void wd_signals_deliver(struct wd_vm *vm);

// sys.signal() -> "INT" | "TERM" | "HUP": waits for the next signal.
int wd_signals_l_wait(lua_State *L);
