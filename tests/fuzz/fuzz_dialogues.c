// SSH banners and STARTTLS dialogues of any bytes, in pieces whose size the input chooses.
#include <stdlib.h>
#include <string.h>

#include "probes/ssh_wire.h"
#include "probes/starttls_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  size_t piece = data[1] ? data[1] : 1;
  struct wd_ssh ssh = {0};
  enum wd_ssh_step ssh_step = WD_SSH_MORE;
  for (size_t at = 2; at < size && ssh_step == WD_SSH_MORE; at += piece)
    ssh_step = wd_ssh_feed(&ssh, data + at, size - at < piece ? size - at : piece);
  if (ssh_step == WD_SSH_DONE && strncmp(ssh.banner, "SSH-", 4) != 0) abort();
  if (ssh_step == WD_SSH_MORE) wd_ssh_unfinished(&ssh);

  struct wd_starttls dialogue;
  enum wd_starttls_step step = WD_STARTTLS_MORE;
  wd_starttls_begin(&dialogue, (enum wd_starttls_protocol)(data[0] % WD_STARTTLS__COUNT));
  for (size_t at = 2; at < size && step == WD_STARTTLS_MORE; at += piece)
    step = wd_starttls_feed(&dialogue, data + at, size - at < piece ? size - at : piece);
  if (step == WD_STARTTLS_REFUSED && dialogue.detail[0] == '\0') abort();
  if (step == WD_STARTTLS_MORE) wd_starttls_unfinished(&dialogue);
  return 0;
}
