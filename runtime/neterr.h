// What an errno says about the network, in the words of the closed list.
#pragma once

#include "wd.h"

// For an error that came from the network: SO_ERROR after a connect, a receive, the ee_errno of an error queue entry of ICMP origin.
// 0 gives WD_OK; what is not the network's doing gives WD_E_LOCAL or WD_E_PERMISSION.
enum wd_err wd_neterr_remote(int err);

// For a call of ours (socket, bind, connect, sendto) that failed at once on a socket with no error pending. A missing or closed route is our own
// machine's configuration: ENETUNREACH and EHOSTUNREACH are WD_E_LOCAL here, EACCES and EPERM are WD_E_PERMISSION.
enum wd_err wd_neterr_local(int err);

// One line on it ("connection refused"), with what to do about it where that is known; static, never NULL.
const char *wd_neterr_detail_remote(int err);
const char *wd_neterr_detail_local(int err);
