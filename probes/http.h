// What the http*.c files share: the options, the result, the probe in flight. For these files alone.
#pragma once

#include "runtime/probe.h"
#include "runtime/transfer.h"

struct http_auth {
  const char *user, *password;
};

struct http_opts {
  struct wd_common_opts common;
  const char *url, *method;
  struct wd_map headers;
  struct wd_data body;
  int version; // enum wd_http_version
  int64_t follow;
  struct wd_tls_opts *tls;
  struct http_auth *auth; // user NULL where it was not given
  const char *bearer, *proxy;
  int64_t keep_body;
  int8_t reuse;
  wd_ns connect_timeout;
  struct wd_list cookies; // of const char *
};

struct http_redirect {
  const char *url;
  int64_t status;
  struct wd_transfer_times *timings;
};

struct http_result {
  struct wd_common_result common;
  int64_t status;
  const char *version;
  struct wd_map headers;
  int64_t headers_dropped, body_bytes;
  struct wd_data body;
  int8_t body_truncated, reused, dns_shared, tls_second_look;
  double throughput_mbps;
  const char *url_effective, *proxy;
  struct wd_list redirects; // of struct http_redirect
  struct wd_transfer_times *timings;
  struct wd_tls_facts *tls;
  struct wd_transfer_tcp *tcp;
  struct wd_list cookies;
};

struct http_probe {
  struct wd_probe_op p;
  struct http_opts opts;
  struct http_result result;
  struct wd_url first;   // the URL as given
  struct wd_transfer t;  // the present hop
  struct wd_map headers; // of the present hop, as the three below
  struct wd_tls_opts tls;
  struct wd_common_opts net;
  struct http_redirect *redirects;
  size_t redirect_count;
  wd_ns before;      // taken by the hops that are over
  bool body_dropped; // a redirect turned the request into a GET
  bool started;
};

extern const struct wd_desc wd_http_opts_desc, wd_http_result_desc;

// What is wrong with the options beyond their types, NULL for nothing; reads the URL into h->first.
const char *wd_http_check(struct http_probe *h);

// "Basic dXNlcjpwYXNz"; NULL when memory is out.
const char *wd_http_basic(struct wd_arena *arena, const char *user, const char *password);

// Sets up h->t, but for `done`, for a request to `url`: the first hop or a later one, without credentials for another server.
void wd_http_prepare(struct http_probe *h, const struct wd_url *url);
