// Openers of the C modules, one a file; runtime/modules.c lists them under their names.
#pragma once

#include <lua.h>

int wd_open_task(lua_State *L);
int wd_open_budget(lua_State *L);
int wd_open_isolate(lua_State *L);
int wd_open_sys(lua_State *L);
int wd_open_confine(lua_State *L);
int wd_open_core(lua_State *L);
int wd_open_listen(lua_State *L);
int wd_open_datagram(lua_State *L);
int wd_open_httpd(lua_State *L);
int wd_open_cert(lua_State *L);
int wd_open_edit(lua_State *L);
int wd_open_zone(lua_State *L);
int wd_open_upload(lua_State *L);
int wd_open_spool(lua_State *L);

const char *wd_edit_library(void); // version of the libedit in use (lua_edit.c)
