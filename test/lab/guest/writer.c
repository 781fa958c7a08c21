/*
 * The load of the lab's guest: writes blocks that carry their sequence number to each disk without pause,
 * remembers what was acknowledged, and reads everything back when asked. One thread a disk, O_DIRECT.
 *
 *   writer DISK...
 *
 * Commands, one a line on standard input; each is answered by one line `answer ID JSON`:
 *   ID status               counts so far, and the longest time between two acknowledgements since `reset`
 *   ID reset                forget the longest time
 *   ID load NAME DELAY_US   idle | steady | flush | trim | large, and the pause after each write
 *   ID verify               read every block of every disk and compare it with what was acknowledged
 *   ID beats MS             while writes are acknowledged, print `beat COUNT` that often; 0, as at first: never
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u
#define LARGE_BLOCKS 32u
#define DISKS_MAX 4
/* Never written as a sequence number: the block may hold anything, its content is not compared. */
#define UNKNOWN UINT64_MAX

enum load { IDLE, STEADY, FLUSH, TRIM, LARGE };
static const char *const load_names[] = {"idle", "steady", "flush", "trim", "large"};

struct disk {
  const char *path;
  int fd;
  uint64_t blocks, random, sequence;
  uint64_t acknowledged, flushed, trimmed, errors;
  uint64_t *expected;
  unsigned char *buffer, *wanted;
  double last_ack, longest_gap;
  char first_error[160];
  /* Held during each request: a command that holds it sees no request in flight. */
  pthread_mutex_t turn;
  pthread_t thread;
};

static struct disk disks[DISKS_MAX];
static int disk_count;
static volatile enum load load = IDLE;
static volatile unsigned delay_us = 2000;
static volatile unsigned beat_ms = 0;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static uint64_t next_random(struct disk *d) {
  d->random ^= d->random << 13;
  d->random ^= d->random >> 7;
  d->random ^= d->random << 17;
  return d->random;
}

/* Every word of the block follows from its sequence number and place, so a torn or misplaced block shows. */
static void fill(unsigned char *to, uint64_t sequence, uint64_t block) {
  uint64_t *word = (uint64_t *)to;
  uint64_t x = sequence * 0x9E3779B97F4A7C15ull ^ (block + 1) * 0xC2B2AE3D27D4EB4Full;
  word[0] = sequence;
  word[1] = block;
  for (unsigned i = 2; i < BLOCK / 8; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    word[i] = x;
  }
}

static void failed(struct disk *d, const char *what, uint64_t block) {
  if (d->errors++ == 0) {
    snprintf(d->first_error, sizeof d->first_error, "%s of block %lu: %s", what,
             (unsigned long)block, strerror(errno));
  }
}

static void acknowledge(struct disk *d) {
  double at = now();
  if (d->last_ack > 0 && at - d->last_ack > d->longest_gap) d->longest_gap = at - d->last_ack;
  d->last_ack = at;
}

static void write_blocks(struct disk *d, uint64_t first, unsigned count) {
  uint64_t sequence = ++d->sequence;
  for (unsigned i = 0; i < count; i++) fill(d->buffer + i * BLOCK, sequence, first + i);
  ssize_t length = (ssize_t)count * BLOCK;
  errno = 0;
  int is_good = pwrite(d->fd, d->buffer, length, first * BLOCK) == length;
  if (!is_good) failed(d, "write", first);
  for (unsigned i = 0; i < count; i++) d->expected[first + i] = is_good ? sequence : UNKNOWN;
  if (is_good) d->acknowledged++;
  acknowledge(d);
}

static void flush(struct disk *d) {
  errno = 0;
  if (fdatasync(d->fd)) failed(d, "flush", 0);
  else d->flushed++;
  acknowledge(d);
}

static void trim(struct disk *d, uint64_t first, unsigned count) {
  uint64_t range[2] = {first * BLOCK, (uint64_t)count * BLOCK};
  for (unsigned i = 0; i < count; i++) d->expected[first + i] = UNKNOWN;
  errno = 0;
  if (ioctl(d->fd, BLKDISCARD, range) == 0) d->trimmed++;
  else if (errno != EOPNOTSUPP) failed(d, "trim", first);
  acknowledge(d);
}

static void one_request(struct disk *d, enum load kind, uint64_t turn) {
  uint64_t block = next_random(d) % d->blocks;
  uint64_t run = block / LARGE_BLOCKS * LARGE_BLOCKS;
  if (kind == FLUSH && turn % 8 == 0) flush(d);
  else if (kind == TRIM && turn % 8 == 0) trim(d, run, LARGE_BLOCKS / 2);
  else if (kind == LARGE) write_blocks(d, run, LARGE_BLOCKS);
  else write_blocks(d, block, 1);
}

static void *work(void *argument) {
  struct disk *d = argument;
  for (uint64_t turn = 1;; turn++) {
    enum load kind = load;
    if (kind == IDLE) {
      usleep(20000);
      d->last_ack = 0;
      continue;
    }
    pthread_mutex_lock(&d->turn);
    one_request(d, kind, turn);
    pthread_mutex_unlock(&d->turn);
    if (delay_us) usleep(delay_us);
  }
  return NULL;
}

/* Reads the whole disk; returns the number of blocks that are not what was acknowledged. */
static uint64_t verify(struct disk *d, char *first_bad, size_t length) {
  uint64_t bad = 0;
  for (uint64_t at = 0; at < d->blocks; at += LARGE_BLOCKS) {
    errno = 0;
    if (pread(d->fd, d->buffer, LARGE_BLOCKS * BLOCK, at * BLOCK) != LARGE_BLOCKS * BLOCK) {
      failed(d, "read", at);
      bad += LARGE_BLOCKS;
      continue;
    }
    for (unsigned i = 0; i < LARGE_BLOCKS; i++) {
      uint64_t wanted = d->expected[at + i];
      if (wanted == UNKNOWN) continue;
      fill(d->wanted, wanted, at + i);
      if (memcmp(d->wanted, d->buffer + i * BLOCK, BLOCK) == 0) continue;
      if (bad++ == 0) {
        uint64_t *found = (uint64_t *)(d->buffer + i * BLOCK);
        snprintf(first_bad, length, "block %lu should hold write %lu and holds %lu of block %lu",
                 (unsigned long)(at + i), (unsigned long)wanted, (unsigned long)found[0],
                 (unsigned long)found[1]);
      }
    }
  }
  return bad;
}

static void print_status(const char *id) {
  /* No beat in the middle of the line. */
  flockfile(stdout);
  printf("answer %s {\"load\":\"%s\",\"disks\":[", id, load_names[load]);
  for (int i = 0; i < disk_count; i++) {
    struct disk *d = &disks[i];
    /* A request that has not come back yet counts as a gap as well. */
    double open = load != IDLE && d->last_ack > 0 ? now() - d->last_ack : 0;
    double gap = open > d->longest_gap ? open : d->longest_gap;
    printf("%s{\"disk\":\"%s\",\"acknowledged\":%lu,\"flushed\":%lu,\"trimmed\":%lu,"
           "\"errors\":%lu,\"firstError\":\"%s\",\"longestGapMs\":%.0f}",
           i ? "," : "", d->path, (unsigned long)d->acknowledged, (unsigned long)d->flushed,
           (unsigned long)d->trimmed, (unsigned long)d->errors, d->first_error, gap * 1e3);
  }
  printf("]}\n");
  funlockfile(stdout);
}

static void print_verified(const char *id) {
  uint64_t bad = 0, checked = 0, errors = 0, acknowledged = 0;
  char first_bad[200] = "";
  for (int i = 0; i < disk_count; i++) {
    struct disk *d = &disks[i];
    pthread_mutex_lock(&d->turn);
    bad += verify(d, bad ? (char[200]){0} : first_bad, 200);
    checked += d->blocks;
    errors += d->errors;
    acknowledged += d->acknowledged;
    d->last_ack = 0;
    pthread_mutex_unlock(&d->turn);
  }
  printf("answer %s {\"checked\":%lu,\"bad\":%lu,\"firstBad\":\"%s\",\"errors\":%lu,"
         "\"acknowledged\":%lu}\n",
         id, (unsigned long)checked, (unsigned long)bad, first_bad, (unsigned long)errors,
         (unsigned long)acknowledged);
}

static void set_load(const char *id, const char *name, unsigned delay) {
  for (unsigned i = 0; i < sizeof load_names / sizeof *load_names; i++) {
    if (strcmp(load_names[i], name)) continue;
    delay_us = delay;
    load = i;
    printf("answer %s {\"load\":\"%s\"}\n", id, name);
    return;
  }
  printf("answer %s {\"unknown\":\"%s\"}\n", id, name);
}

static void execute(const char *line) {
  char id[32], verb[32], name[32] = "";
  unsigned delay = 2000;
  if (sscanf(line, "%31s %31s %31s %u", id, verb, name, &delay) < 2) return;
  if (!strcmp(verb, "status")) print_status(id);
  else if (!strcmp(verb, "verify")) print_verified(id);
  else if (!strcmp(verb, "load")) set_load(id, name, delay);
  else if (!strcmp(verb, "reset")) {
    for (int i = 0; i < disk_count; i++) disks[i].longest_gap = 0;
    printf("answer %s {}\n", id);
  } else if (!strcmp(verb, "beats")) {
    beat_ms = (unsigned)atoi(name);
    printf("answer %s {}\n", id);
  } else printf("answer %s {\"unknown\":\"%s\"}\n", id, verb);
}

static void *beat(void *unused) {
  (void)unused;
  uint64_t last = 0;
  for (;;) {
    uint64_t sum = 0;
    for (int i = 0; i < disk_count; i++) sum += disks[i].acknowledged;
    if (sum != last && beat_ms) printf("beat %lu\n", (unsigned long)sum);
    last = sum;
    usleep(beat_ms ? beat_ms * 1000 : 500000);
  }
  return NULL;
}

static void open_disk(struct disk *d, const char *path) {
  uint64_t size = 0;
  d->path = path;
  d->fd = open(path, O_RDWR | O_DIRECT);
  if (d->fd < 0 || ioctl(d->fd, BLKGETSIZE64, &size)) {
    printf("writer cannot open %s: %s\n", path, strerror(errno));
    exit(1);
  }
  d->blocks = size / BLOCK / LARGE_BLOCKS * LARGE_BLOCKS;
  d->random = 88172645463325252ull + disk_count;
  d->expected = calloc(d->blocks, sizeof *d->expected);
  if (!d->expected || posix_memalign((void **)&d->buffer, BLOCK, LARGE_BLOCKS * BLOCK) ||
      posix_memalign((void **)&d->wanted, BLOCK, BLOCK)) {
    printf("writer has no memory\n");
    exit(1);
  }
  pthread_mutex_init(&d->turn, NULL);
  for (uint64_t at = 0; at < d->blocks; at += LARGE_BLOCKS) write_blocks(d, at, LARGE_BLOCKS);
  d->last_ack = d->longest_gap = 0;
}

int main(int count, char **words) {
  struct termios terminal;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (tcgetattr(0, &terminal) == 0) {
    terminal.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(0, TCSANOW, &terminal);
  }
  for (int i = 1; i < count && i <= DISKS_MAX; i++) open_disk(&disks[disk_count++], words[i]);
  for (int i = 0; i < disk_count; i++) {
    pthread_create(&disks[i].thread, NULL, work, &disks[i]);
  }
  pthread_t beats;
  pthread_create(&beats, NULL, beat, NULL);
  print_status("0");
  char line[256];
  for (;;) {
    if (fgets(line, sizeof line, stdin)) execute(line);
    else {
      clearerr(stdin);
      usleep(100000);
    }
  }
}
