// The table of probes that the door, the help and the completion go through.
#include "probes/probes.h"

const struct wd_probe *const wd_probes[] = {
  NULL,
};
