// Headers, tokens and the login. See upload_auth.h.
#include "runtime/upload_auth.h"

#include <string.h>

#include "runtime/upload_json.h"

enum { LONGEST_SECRET = 16384, SHORTEST_SECRET = 4 };

// Renewed this much before the manager forgets the token, at most a tenth of the token's life before.
static const wd_ns renew_before = 300 * WD_S, default_life = 86400 * WD_S, longest_life = 366 * 86400 * WD_S;

static const char *const type_names[] = {"none", "jwt", "apikey", "userpass", NULL};

static const struct wd_field fields[] = {
    WD_FIELD(struct wd_auth_opts, type, "type", WD_T_ENUM, .def = "none", .names = type_names,
             .help = "how uploads prove who they are"),
    WD_FIELD(struct wd_auth_opts, token, "token", WD_T_STR, .max = LONGEST_SECRET, .help = "of type jwt: sent as a bearer token"),
    WD_FIELD(struct wd_auth_opts, key, "key", WD_T_STR, .max = LONGEST_SECRET, .help = "of type apikey: sent as X-API-Key"),
    WD_FIELD(struct wd_auth_opts, user, "user", WD_T_STR, .max = LONGEST_SECRET, .help = "of type userpass: who logs in"),
    WD_FIELD(struct wd_auth_opts, password, "password", WD_T_STR, .max = LONGEST_SECRET, .help = "of type userpass"),
    WD_FIELD(struct wd_auth_opts, mfa_code, "mfa_code", WD_T_STR, .max = LONGEST_SECRET,
             .help = "of type userpass: second factor, where the manager asks for one"),
    {0},
};

const struct wd_desc wd_auth_desc = {"auth", fields, sizeof(struct wd_auth_opts)};

// A header's value may hold neither ends of lines nor other controls (RFC 9110 section 5.5).
static bool fits_header(const char *text) {
  for (; *text; text++)
    if ((unsigned char)*text < 0x20 || *text == 0x7f) return false;
  return true;
}

const char *wd_auth_check(const struct wd_auth_opts *o) {
  if (o->type == WD_AUTH_JWT) {
    if (!o->token || !*o->token) return "field 'token': type \"jwt\" needs one, got nothing";
    if (!fits_header(o->token) || strchr(o->token, ' ')) return "field 'token': a token has no blanks and no ends of lines in it";
  } else if (o->type == WD_AUTH_APIKEY) {
    if (!o->key || !*o->key) return "field 'key': type \"apikey\" needs one, got nothing";
    if (!fits_header(o->key)) return "field 'key': a key has no ends of lines in it";
  } else if (o->type == WD_AUTH_USERPASS) {
    if (!o->user || !*o->user) return "field 'user': type \"userpass\" needs one, got nothing";
    if (!o->password || !*o->password) return "field 'password': type \"userpass\" needs one, got nothing";
  }
  return NULL;
}

// Base64 (RFC 4648 section 4) of the text, behind `prefix`.
static char *base64(struct wd_arena *arena, const char *prefix, const char *text) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t n = strlen(text), head = strlen(prefix);
  char *coded = wd_arena_alloc(arena, head + (n + 2) / 3 * 4 + 1), *out = coded;
  if (!coded) return NULL;
  memcpy(out, prefix, head);
  out += head;
  for (size_t i = 0; i < n; i += 3) {
    uint32_t bits = 0;
    size_t have = n - i < 3 ? n - i : 3;
    for (size_t k = 0; k < 3; k++) bits = bits << 8 | (k < have ? (unsigned char)text[i + k] : 0U);
    for (size_t k = 0; k < 4; k++) *out++ = k <= have ? alphabet[bits >> (18 - 6 * k) & 63] : '=';
  }
  return coded;
}

int wd_auth_open(struct wd_auth *auth, const struct wd_auth_opts *opts) {
  *auth = (struct wd_auth){.opts = opts};
  if (opts->type == WD_AUTH_JWT) {
    auth->name = "Authorization";
    auth->value = wd_arena_printf(&auth->arena, "Bearer %s", opts->token); // the manager takes the word in this case only
  } else if (opts->type == WD_AUTH_APIKEY) {
    auth->name = "X-API-Key";
    auth->value = opts->key;
  }
  return auth->name && !auth->value ? -1 : 0;
}

void wd_auth_close(struct wd_auth *auth) {
  wd_arena_free(&auth->arena);
}

bool wd_auth_ready(const struct wd_auth *auth, wd_ns now) {
  return auth->opts->type != WD_AUTH_USERPASS || (auth->logged_in && (auth->basic || now < auth->renew_at));
}

char *wd_auth_login_body(const struct wd_auth *auth, struct wd_arena *arena) {
  const char *user = wd_json_quote(arena, auth->opts->user), *password = wd_json_quote(arena, auth->opts->password);
  if (!user || !password) return NULL;
  if (!auth->opts->mfa_code) return wd_arena_printf(arena, "{\"username\":%s,\"password\":%s}", user, password);
  const char *code = wd_json_quote(arena, auth->opts->mfa_code);
  return code ? wd_arena_printf(arena, "{\"username\":%s,\"password\":%s,\"mfa_code\":%s}", user, password, code) : NULL;
}

// From now on uploads carry this value; NULL: memory is out.
static bool use(struct wd_auth *auth, const char *value) {
  auth->name = value ? "Authorization" : NULL;
  auth->value = value;
  auth->logged_in = value != NULL;
  auth->generation++;
  auth->proven = false;
  return auth->logged_in;
}

static bool use_basic(struct wd_auth *auth) {
  wd_arena_free(&auth->arena);
  const char *both = wd_arena_printf(&auth->arena, "%s:%s", auth->opts->user, auth->opts->password);
  auth->basic = true;
  return use(auth, both ? base64(&auth->arena, "Basic ", both) : NULL);
}

static enum wd_upload_verdict read_token(struct wd_auth *auth, const char *body, size_t n, wd_ns now, const char **why) {
  struct wd_arena arena = {0};
  struct wd_json_value token = wd_json_member(body, n, "token", &arena), life = wd_json_member(body, n, "expires_in", &arena);
  enum wd_upload_verdict verdict = WD_UPLOAD_BLOCKED;
  if (token.kind != WD_JSON_STRING || !*token.text || strlen(token.text) > LONGEST_SECRET || !fits_header(token.text) ||
      strchr(token.text, ' ')) {
    *why = "login answered without a token";
  } else {
    wd_ns span = default_life;
    if (life.kind == WD_JSON_NUMBER && life.number > 0)
      span = life.number * 1e9 < (double)longest_life ? (wd_ns)(life.number * 1e9) : longest_life;
    auth->renew_at = now + span - (span / 10 < renew_before ? span / 10 : renew_before);
    auth->basic = false;
    wd_arena_free(&auth->arena);
    verdict = WD_UPLOAD_STORED;
    if (!use(auth, wd_arena_printf(&auth->arena, "Bearer %s", token.text))) {
      *why = "out of memory";
      verdict = WD_UPLOAD_FAULT;
    }
  }
  wd_arena_free(&arena);
  return verdict;
}

static bool asks_for_second_factor(const char *body, size_t n) {
  struct wd_arena arena = {0};
  bool asks = wd_json_member(body, n, "mfa_required", &arena).kind == WD_JSON_TRUE;
  wd_arena_free(&arena);
  return asks;
}

enum wd_upload_verdict wd_auth_answer(struct wd_auth *auth, int64_t status, const char *body, size_t n, wd_ns now,
                                      const char **why) {
  if (status == 200 || status == 201) return read_token(auth, body, n, now, why);
  if (status == 404 || status == 405) { // no login route: the manager may take both by every upload
    *why = "out of memory";
    return use_basic(auth) ? WD_UPLOAD_STORED : WD_UPLOAD_FAULT;
  }
  wd_auth_forget(auth);
  if (status == 401 || status == 403) {
    *why = asks_for_second_factor(body, n) ? "the manager asks for a second factor, give mfa_code"
                                           : "the manager does not accept user and password";
    return WD_UPLOAD_BLOCKED;
  }
  *why = status ? "login was refused" : "login was not answered";
  enum wd_upload_verdict verdict = wd_upload_judge(status);
  return verdict == WD_UPLOAD_FAULT || verdict == WD_UPLOAD_DOUBT ? WD_UPLOAD_FAULT : WD_UPLOAD_BLOCKED;
}

void wd_auth_stored(struct wd_auth *auth, unsigned generation) {
  if (generation == auth->generation) auth->proven = true;
}

enum wd_auth_denied wd_auth_denied(struct wd_auth *auth, unsigned generation, int64_t row) {
  if (auth->opts->type != WD_AUTH_USERPASS) return WD_AUTH_WRONG;
  if (generation != auth->generation || !auth->logged_in) return WD_AUTH_AGAIN;
  if (auth->basic || !auth->proven || auth->denied_row == row) return WD_AUTH_WRONG;
  auth->denied_row = row;
  wd_auth_forget(auth);
  return WD_AUTH_LOGIN;
}

void wd_auth_forget(struct wd_auth *auth) {
  if (auth->opts->type != WD_AUTH_USERPASS) return;
  auth->logged_in = auth->basic = false;
  auth->name = auth->value = NULL;
}

// How much of the secret is at the beginning of the text: all of it, or all that is left of the text.
static size_t matched(const char *text, size_t n, const char *secret, size_t length) {
  size_t most = n < length ? n : length;
  return most >= SHORTEST_SECRET && memcmp(text, secret, most) == 0 ? most : 0;
}

void wd_auth_mask(const struct wd_auth *auth, char *text, size_t n) {
  const char *coded = auth->value ? strchr(auth->value, ' ') : NULL; // what a login gave: "Bearer ...", "Basic ..."
  const struct wd_auth_opts *o = auth->opts;
  const char *const secrets[] = {o->token, o->key, o->password, o->mfa_code, coded ? coded + 1 : NULL};
  for (size_t i = 0; i < WD_COUNT(secrets); i++) {
    size_t length = secrets[i] ? strlen(secrets[i]) : 0;
    for (size_t at = 0; length >= SHORTEST_SECRET && at < n; at++) {
      size_t found = matched(text + at, n - at, secrets[i], length);
      memset(text + at, '*', found);
    }
  }
}
