// The capture: a ring that the kernel fills with every packet of the interface and its stamp (packet(7), PACKET_MMAP with TPACKET_V3), emptied by a thread.
// Reading late costs nothing, as long as the ring has room; what found none is counted.
#include "sim.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  BLOCK = 1 << 19,
  BLOCKS = 48,   // 24 MiB: a hundred thousand packets
  BLOCK_MS = 10, // a block that is not full is handed over after this time
  SNAP = 192,    // bytes kept of a packet: an ICMP error over IPv6 with what identifies the request in it
  FRAME = 2048,  // of no meaning for TPACKET_V3, but checked
};

static int fd = -1;
static uint8_t *ring;
static unsigned next_block;
static const char *out_path;
static pthread_t thread;
static atomic_bool ending;
static unsigned long long packets, dropped;

static void fail(const char *what) {
  fprintf(stderr, "waddle-sim: capture: ");
  perror(what);
  exit(1);
}

static void set(int level, int name, const void *value, socklen_t len, const char *what) {
  if (setsockopt(fd, level, name, value, len) < 0) fail(what);
}

static void take_block(const struct tpacket_block_desc *block) {
  const uint8_t *at = (const uint8_t *)block + block->hdr.bh1.offset_to_first_pkt;
  for (unsigned i = 0; i < block->hdr.bh1.num_pkts; i++) {
    const struct tpacket3_hdr *h = (const void *)at;
    const struct sockaddr_ll *where = (const void *)(at + TPACKET_ALIGN(sizeof(*h)));
    int64_t wall = (int64_t)h->tp_sec * 1000000000 + h->tp_nsec;
    size_t before = (size_t)(h->tp_net - h->tp_mac);
    if (h->tp_snaplen > before) pairs_add(at + h->tp_net, h->tp_snaplen - before, where->sll_pkttype == PACKET_OUTGOING, wall);
    at += h->tp_next_offset;
  }
}

static void take_blocks(void) {
  for (;; next_block = (next_block + 1) % BLOCKS) {
    struct tpacket_block_desc *block = (void *)(ring + (size_t)next_block * BLOCK);
    if (!(__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) return;
    take_block(block);
    __atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
  }
}

static void *run(void *unused) {
  struct pollfd ready = {.fd = fd, .events = POLLIN};
  while (!atomic_load(&ending)) {
    poll(&ready, 1, BLOCK_MS);
    take_blocks();
  }
  return unused;
}

void capture_start(const char *device, const char *path) {
  struct sock_filter keep = BPF_STMT(BPF_RET | BPF_K, SNAP);
  struct sock_fprog program = {1, &keep};
  struct tpacket_req3 req = {.tp_block_size = BLOCK,
                             .tp_block_nr = BLOCKS,
                             .tp_frame_size = FRAME,
                             .tp_frame_nr = BLOCK / FRAME * BLOCKS,
                             .tp_retire_blk_tov = BLOCK_MS};
  struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(device)};
  int version = TPACKET_V3, on = 1;
  out_path = path;
  fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0); // of no protocol until it is bound: nothing of other interfaces comes in
  if (fd < 0) fail("socket");
  set(SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program), "filter");
  set(SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on), "timestamps"); // as early as the kernel can
  set(SOL_PACKET, PACKET_VERSION, &version, sizeof(version), "TPACKET_V3");
  set(SOL_PACKET, PACKET_RX_RING, &req, sizeof(req), "ring");
  ring = mmap(NULL, (size_t)BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (ring == MAP_FAILED) fail("mmap");
  if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) fail("bind");
  if (pthread_create(&thread, NULL, run, NULL)) fail("thread");
}

void capture_stop(void) {
  struct tpacket_stats_v3 stats;
  socklen_t len = sizeof(stats);
  if (fd < 0) return;
  usleep(3 * BLOCK_MS * 1000); // until the last block is handed over
  atomic_store(&ending, true);
  pthread_join(thread, NULL);
  take_blocks();
  if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) < 0) fail("statistics");
  packets = stats.tp_packets;
  dropped = stats.tp_drops;
  FILE *out = fopen(out_path, "we");
  if (!out) fail(out_path);
  fprintf(out, "packets\t%llu\tdropped\t%llu\n", packets, dropped);
  pairs_write(out);
  if (fclose(out)) fail(out_path);
  munmap(ring, (size_t)BLOCK * BLOCKS);
  close(fd);
}
