// Landlock (landlock(7)): what the process may change in the file system. There is no library for it; the headers of Debian 12 know its first version.
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/confine.h"
#include "runtime/wd.h"

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define FIRST_WITH_REFER 2
#define FIRST_WITH_TRUNCATE 3

#define WRITE_A_FILE LANDLOCK_ACCESS_FS_WRITE_FILE
#define WRITE_A_FOLDER                                                                                                             \
  (LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |   \
   LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |     \
   LANDLOCK_ACCESS_FS_MAKE_SYM)

static int allow(int ruleset, const char *path, uint64_t handled) {
  struct stat what;
  int rc = 0, fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? 0 : errno;
  struct landlock_path_beneath_attr rule = {.parent_fd = fd, .allowed_access = handled & ~LANDLOCK_ACCESS_FS_EXECUTE};
  if (fstat(fd, &what) == 0 && !S_ISDIR(what.st_mode)) rule.allowed_access &= WRITE_A_FILE | LANDLOCK_ACCESS_FS_TRUNCATE;
  if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0)) rc = errno;
  close(fd);
  return rc;
}

int wd_confine_landlock(const char *const *paths, size_t count, bool programs) {
  long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 0) return errno;
  uint64_t handled = WRITE_A_FILE | WRITE_A_FOLDER;
  if (version >= FIRST_WITH_REFER) handled |= LANDLOCK_ACCESS_FS_REFER;
  if (version >= FIRST_WITH_TRUNCATE) handled |= LANDLOCK_ACCESS_FS_TRUNCATE;
  if (!programs) handled |= LANDLOCK_ACCESS_FS_EXECUTE;
  struct landlock_ruleset_attr attr = {.handled_access_fs = handled};
  int rc = 0, ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
  if (ruleset < 0) return errno;
  for (size_t i = 0; i < count && !rc; i++) rc = allow(ruleset, paths[i], handled);
  if (!rc && syscall(SYS_landlock_restrict_self, ruleset, 0)) rc = errno;
  close(ruleset);
  return rc;
}
