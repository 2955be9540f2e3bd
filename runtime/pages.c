// See pages.h.
#include "runtime/pages.h"

#include <link.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static int on_object(struct dl_phdr_info *info, size_t size, void *page_size) {
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    if (p->p_type != PT_LOAD || (p->p_flags & PF_W)) continue; // what can be written may have been
    uintptr_t begin = info->dlpi_addr + p->p_vaddr, end = begin + p->p_memsz;
    begin &= ~(*(uintptr_t *)page_size - 1);
    madvise((void *)begin, end - begin, MADV_DONTNEED);
  }
  return 0;
}

void wd_pages_release(void) {
  uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
  dl_iterate_phdr(on_object, &page_size);
}
