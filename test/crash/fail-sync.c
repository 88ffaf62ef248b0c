/*
 * A disk that fails, for a process that knows nothing of it: loaded with LD_PRELOAD it stands before fsync, fdatasync and
 * pwrite of the files under one directory. What the environment does not ask for goes through as it is.
 *
 *   FAULT_UNDER        the directory (as /proc/self/fd names it)
 *   FAULT_SYNC_AFTER   so many syncs succeed; all later ones fail with EIO, and nothing of theirs is written
 *   FAULT_WRITE_AFTER  so many pwrites succeed; all later ones fail with FAULT_WRITE_ERRNO (default EIO)
 *   FAULT_SHORT_ABOVE  a pwrite of more bytes than this takes this many and no more
 *   FAULT_LOG          a file (elsewhere) to which each event is appended as a line:
 *                      `synced SIZE PATH` (SIZE as it was before the sync), `failed MS PATH` (MS since 1970), `short PATH`
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *under;
static size_t under_length;
static long sync_after = -1, write_after = -1, short_above = -1;
static int write_errno = EIO;
static int log_fd = -1;
static atomic_long syncs, writes;

static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);

static long number(const char *name, long missing) {
  const char *text = getenv(name);
  return text == NULL ? missing : atol(text);
}

__attribute__((constructor)) static void start(void) {
  real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
  under = getenv("FAULT_UNDER");
  under_length = under == NULL ? 0 : strlen(under);
  sync_after = number("FAULT_SYNC_AFTER", -1);
  write_after = number("FAULT_WRITE_AFTER", -1);
  write_errno = (int)number("FAULT_WRITE_ERRNO", EIO);
  short_above = number("FAULT_SHORT_ABOVE", -1);
  const char *log = getenv("FAULT_LOG");
  if (log != NULL) log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Whether the file is one of ours; its path goes into `path`. */
static int is_under(int fd, char path[PATH_MAX]) {
  char link[64];
  if (under == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = '\0';
  return strncmp(path, under, under_length) == 0 &&
         (path[under_length] == '/' || path[under_length] == '\0');
}

static void say(const char *format, long number, const char *path) {
  char line[PATH_MAX + 64];
  if (log_fd < 0) return;
  int length = snprintf(line, sizeof line, format, number, path);
  if (write(log_fd, line, (size_t)length) != length) abort();
}

static long milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int sync_file(int fd, int (*real)(int)) {
  char path[PATH_MAX];
  struct stat before;
  if (!is_under(fd, path)) return real(fd);
  if (sync_after >= 0 && atomic_fetch_add(&syncs, 1) >= sync_after) {
    say("failed %ld %s\n", milliseconds(), path);
    errno = EIO;
    return -1;
  }
  if (fstat(fd, &before) != 0) return -1;
  int result = real(fd);
  if (result == 0) say("synced %ld %s\n", (long)before.st_size, path);
  return result;
}

static ssize_t write_file(int fd, const void *bytes, size_t count, off_t at) {
  char path[PATH_MAX];
  if ((write_after < 0 && short_above < 0) || !is_under(fd, path)) {
    return real_pwrite(fd, bytes, count, at);
  }
  if (write_after >= 0 && atomic_fetch_add(&writes, 1) >= write_after) {
    say("failed %ld %s\n", milliseconds(), path);
    errno = write_errno;
    return -1;
  }
  if (short_above > 0 && count > (size_t)short_above) {
    say("short %ld %s\n", (long)count, path);
    count = (size_t)short_above;
  }
  return real_pwrite(fd, bytes, count, at);
}

int fsync(int fd) { return sync_file(fd, real_fsync); }
int fdatasync(int fd) { return sync_file(fd, real_fdatasync); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
  return write_file(fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) {
  return write_file(fd, bytes, count, at);
}
