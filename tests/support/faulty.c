/* A disk that fails at a chosen moment, for one process: LD_PRELOAD of tests/support/faulty.rs.
 *
 * FAULTY   "bytes N": after N bytes have gone to regular files there is no space left (a short write, then ENOSPC).
 *                  "sync N", "rename N": the N-th fsync or fdatasync, or the N-th rename or link, fails with EIO.
 * FAULTY_LOG  gets a line for each call that counts, and "hit" in front of those that failed.
 *
 * It counts over all threads, which strace's injection does not, and it leaves sockets, pipes and the three standard files alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char kind[16];
static long long limit = -1, bytes, syncs, renames;
static int log_fd = -1;

__attribute__((constructor)) static void begin(void) {
  const char *fault = getenv("FAULTY"), *path = getenv("FAULTY_LOG");
  if (!fault || !path || sscanf(fault, "%15s %lld", kind, &limit) != 2) return;
  log_fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void note(int hit, const char *what, long long n, const char *path) {
  char line[4200];
  int len = snprintf(line, sizeof line, "%s%s %lld %s\n", hit ? "hit " : "", what, n, path);
  if (log_fd >= 0 && len > 0) syscall(SYS_write, log_fd, line, len < (int)sizeof line ? len : (int)sizeof line);
}

static const char *path_of(int fd, char *buf, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, buf, size - 1);
  buf[n < 0 ? 0 : n] = 0;
  return buf;
}

static int counts(int fd) {
  struct stat st;
  return log_fd >= 0 && fd > 2 && fd != log_fd && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* How many of these bytes still fit; all of them where no limit is set. */
static long long room(int fd, long long want) {
  char path[4096];
  pthread_mutex_lock(&lock);
  long long left = want;
  if (!strcmp(kind, "bytes")) {
    left = limit - bytes < want ? limit - bytes : want;
    if (left < 0) left = 0;
  }
  bytes += left;
  note(left < want, "bytes", bytes, path_of(fd, path, sizeof path));
  pthread_mutex_unlock(&lock);
  return left;
}

/* Whether this call is the one that fails. */
static int fails(const char *what, long long *count, const char *path) {
  pthread_mutex_lock(&lock);
  int hit = ++*count == limit && !strcmp(kind, what);
  note(hit, what, *count, path);
  pthread_mutex_unlock(&lock);
  return hit;
}

#define NEXT(name) (__typeof__(&name)) dlsym(RTLD_NEXT, #name)
#define FULL(fd, want) \
  size_t fits = want; \
  if (counts(fd) && want > 0 && (fits = room(fd, want)) == 0) { errno = ENOSPC; return -1; }

ssize_t write(int fd, const void *buf, size_t n) { FULL(fd, n) return (NEXT(write))(fd, buf, fits); }
ssize_t pwrite(int fd, const void *buf, size_t n, off_t at) { FULL(fd, n) return (NEXT(pwrite))(fd, buf, fits, at); }
ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at) { FULL(fd, n) return (NEXT(pwrite64))(fd, buf, fits, at); }

ssize_t writev(int fd, const struct iovec *v, int n) {
  if (!counts(fd) || n < 1) return (NEXT(writev))(fd, v, n);
  return write(fd, v[0].iov_base, v[0].iov_len);
}

ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags) {
  FULL(to, n)
  return (NEXT(copy_file_range))(from, a, to, b, fits, flags);
}

/* A reservation is refused whole. */
static int reserve(int fd, off64_t len) {
  if (!counts(fd) || len <= 0) return 0;
  return room(fd, len) < len;
}

int fallocate(int fd, int mode, off_t at, off_t len) {
  if (reserve(fd, len)) { errno = ENOSPC; return -1; }
  return (NEXT(fallocate))(fd, mode, at, len);
}

int fallocate64(int fd, int mode, off64_t at, off64_t len) {
  if (reserve(fd, len)) { errno = ENOSPC; return -1; }
  return (NEXT(fallocate64))(fd, mode, at, len);
}

static int sync_fails(int fd) {
  char path[4096];
  return log_fd >= 0 && fails("sync", &syncs, path_of(fd, path, sizeof path));
}

int fsync(int fd) {
  if (sync_fails(fd)) { errno = EIO; return -1; }
  return (NEXT(fsync))(fd);
}

int fdatasync(int fd) {
  if (sync_fails(fd)) { errno = EIO; return -1; }
  return (NEXT(fdatasync))(fd);
}

static int rename_fails(const char *to) { return log_fd >= 0 && fails("rename", &renames, to); }

int rename(const char *a, const char *b) {
  if (rename_fails(b)) { errno = EIO; return -1; }
  return (NEXT(rename))(a, b);
}

int renameat(int d, const char *a, int e, const char *b) {
  if (rename_fails(b)) { errno = EIO; return -1; }
  return (NEXT(renameat))(d, a, e, b);
}

int renameat2(int d, const char *a, int e, const char *b, unsigned flags) {
  if (rename_fails(b)) { errno = EIO; return -1; }
  return (NEXT(renameat2))(d, a, e, b, flags);
}

int link(const char *a, const char *b) {
  if (rename_fails(b)) { errno = EIO; return -1; }
  return (NEXT(link))(a, b);
}

int linkat(int d, const char *a, int e, const char *b, int flags) {
  if (rename_fails(b)) { errno = EIO; return -1; }
  return (NEXT(linkat))(d, a, e, b, flags);
}

/* Rust's standard library asks for renameat2 through syscall(2) on some targets. */
long syscall(long number, ...) {
  va_list args;
  va_start(args, number);
  long a = va_arg(args, long), b = va_arg(args, long), c = va_arg(args, long), d = va_arg(args, long),
       e = va_arg(args, long), f = va_arg(args, long);
  va_end(args);
  static long (*real)(long, ...);
  if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  if (number == SYS_renameat2 && rename_fails((const char *)d)) { errno = EIO; return -1; }
  if (number == SYS_copy_file_range) { errno = ENOSYS; return -1; }
  return real(number, a, b, c, d, e, f);
}
