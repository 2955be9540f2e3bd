// Every probe there is. A new protocol adds its line here and in probes.c.
#pragma once

#include "runtime/probe.h"
