// The SSH banner, see ssh_wire.h.
#include "ssh_wire.h"

#include <stdio.h>
#include <string.h>

#include "runtime/text.h"

static enum wd_ssh_step refuse(struct wd_ssh *ssh, const char *what, const char *text, size_t len) {
  char shown[128];
  wd_text_escape(shown, sizeof shown, text, len);
  snprintf(ssh->detail, sizeof ssh->detail, "%s: '%s'", what, shown);
  return WD_SSH_REFUSED;
}

static bool begins(const char *text, size_t len, const char *with) {
  size_t n = strlen(with);
  return len >= n && memcmp(text, with, n) == 0;
}

static enum wd_ssh_step read_banner(struct wd_ssh *ssh, const char *text, size_t len) {
  size_t prefix = begins(text, len, "SSH-2.0-") ? 8 : begins(text, len, "SSH-1.99-") ? 9 : 0;
  if (len > WD_SSH_BANNER_MAX) return refuse(ssh, "the banner is longer than 255 bytes", text, len);
  if (prefix == 0) return refuse(ssh, "the banner is of another protocol version, expected SSH-2.0- or SSH-1.99-", text, len);
  for (size_t i = 0; i < len; i++)
    if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return refuse(ssh, "the banner has a control character", text, len);
  const char *software = text + prefix, *end = text + len;
  const char *blank = memchr(software, ' ', len - prefix);
  const char *software_end = blank ? blank : end;
  wd_text_escape(ssh->banner, sizeof ssh->banner, text, len);
  wd_text_escape(ssh->software, sizeof ssh->software, software, (size_t)(software_end - software));
  if (blank) wd_text_escape(ssh->comments, sizeof ssh->comments, blank + 1, (size_t)(end - blank) - 1);
  snprintf(ssh->protocol, sizeof ssh->protocol, "%.*s", (int)prefix - 5, text + 4);
  return WD_SSH_DONE;
}

enum wd_ssh_step wd_ssh_feed(struct wd_ssh *ssh, const uint8_t *bytes, size_t len) {
  for (;;) {
    enum wd_lines_step step = wd_lines_next(&ssh->lines, &bytes, &len);
    const char *text = ssh->lines.text;
    bool is_banner = begins(text, ssh->lines.len, "SSH-");
    if (is_banner && (step == WD_LINES_WHOLE || ssh->lines.len > WD_SSH_BANNER_MAX + 1))
      return read_banner(ssh, text, ssh->lines.len);
    if (step == WD_LINES_MORE) return WD_SSH_MORE;
    if (ssh->first_line[0] == '\0') wd_text_escape(ssh->first_line, sizeof ssh->first_line, text, ssh->lines.len);
    if (step != WD_LINES_WHOLE || ++ssh->skipped > WD_SSH_LINES_MAX)
      return refuse(ssh, "too much text before a banner, beginning with", ssh->first_line, strlen(ssh->first_line));
  }
}

const char *wd_ssh_unfinished(struct wd_ssh *ssh) {
  char said[128];
  snprintf(said, sizeof said, "%s", ssh->first_line);
  if (said[0] == '\0' && !ssh->lines.ended) wd_text_escape(said, sizeof said, ssh->lines.text, ssh->lines.len);
  snprintf(ssh->detail, sizeof ssh->detail,
           said[0] ? "no SSH banner; the peer said '%s'" : "no SSH banner; the peer said nothing%s", said);
  return ssh->detail;
}
