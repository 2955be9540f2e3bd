// The Lua files inside the binary: all of lua/ and scripts/, and argparse. Generated at build time.
#pragma once

#include <stddef.h>

struct wd_embed_file {
  const char *name; // path in the repository: "lua/waddle/json.lua", "scripts/ping.lua"
  const unsigned char *data;
  size_t size;
};

extern const struct wd_embed_file wd_embed_files[]; // ends with a NULL name
