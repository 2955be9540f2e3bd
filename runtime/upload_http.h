// The uploader's way to the manager: HTTP requests over runtime/transfer.h.
// Must hold: redirects are not followed and a request goes to the manager's own host alone, so that
// credentials never leave it; every request ends within `timeout`.
#pragma once

#include "runtime/tls_facts.h"
#include "runtime/upload.h"

struct wd_upload_http_opts {
  const char *results_url, *login_url; // http or https, whole
  wd_ns timeout;                       // of a request; a connection gets at most 10 s of it
  const struct wd_tls_opts *tls;       // must live as long as the transport
};

// A transport, or NULL with *wrong set: what is wrong with a URL, or that memory is out, in the arena.
struct wd_transport *wd_upload_http(struct wd_loop *loop, const struct wd_upload_http_opts *opts, struct wd_arena *arena,
                                    const char **wrong);

// The address of the results, without credentials.
const char *wd_upload_http_where(const struct wd_transport *t);
