// How an upload proves who it is: the header of each auth type, the manager's login and its renewal.
// It makes requests and reads answers; upload.c sends them.
// Must hold: a secret goes into a header or the login's body and nowhere else, never into a message.
#pragma once

#include "runtime/arena.h"
#include "runtime/desc.h"
#include "runtime/upload_answer.h"

enum wd_auth_type { WD_AUTH_NONE, WD_AUTH_JWT, WD_AUTH_APIKEY, WD_AUTH_USERPASS };

struct wd_auth_opts {
  int type; // enum wd_auth_type
  const char *token, *key, *user, *password, *mfa_code;
};

extern const struct wd_desc wd_auth_desc;

// What became of a 401.
enum wd_auth_denied {
  WD_AUTH_AGAIN, // the token that was sent is not the one in use any more: send the row again
  WD_AUTH_LOGIN, // the token in use has died: it is forgotten, log in
  WD_AUTH_WRONG, // nothing that a login could mend
};

struct wd_auth {
  const struct wd_auth_opts *opts;
  struct wd_arena arena;         // holds `value`
  const char *name, *value;      // the header; NULL where none is needed, or a login is
  unsigned generation;           // of the token: counts logins
  bool logged_in, basic, proven; // proven: the manager has stored something with this token
  wd_ns renew_at;
  int64_t denied_row; // the last row that was denied with the token in use, 0 = none
};

// What is wrong with the options ("field 'token': ..."), NULL when nothing is.
const char *wd_auth_check(const struct wd_auth_opts *opts);

// `opts` must live as long as *auth. 0, or -1 when memory is out.
int wd_auth_open(struct wd_auth *auth, const struct wd_auth_opts *opts);
void wd_auth_close(struct wd_auth *auth);

// Whether an upload can be sent at `now`; if not, log in first.
bool wd_auth_ready(const struct wd_auth *auth, wd_ns now);

// The body of POST auth/login, in the arena; NULL when memory is out.
char *wd_auth_login_body(const struct wd_auth *auth, struct wd_arena *arena);

// Reads the answer to a login (status 0: none). WD_UPLOAD_STORED: there is a header now.
// WD_UPLOAD_BLOCKED or WD_UPLOAD_FAULT: *why says for people what came.
enum wd_upload_verdict wd_auth_answer(struct wd_auth *auth, int64_t status, const char *body, size_t n, wd_ns now,
                                      const char **why);

// A row that was sent with the token of `generation` was stored, or was denied with a 401.
void wd_auth_stored(struct wd_auth *auth, unsigned generation);
enum wd_auth_denied wd_auth_denied(struct wd_auth *auth, unsigned generation, int64_t row);

// Puts stars over every secret that a manager has sent back, also over what may be the beginning of one at the end; for whatever of an answer is
// shown or kept. Secrets shorter than 4 bytes are none.
void wd_auth_mask(const struct wd_auth *auth, char *text, size_t n);

// Forgets what a login gave, so that the next try begins with one.
void wd_auth_forget(struct wd_auth *auth);
