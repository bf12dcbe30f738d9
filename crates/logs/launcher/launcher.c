/*
 * Starts a container's program with its output going into Nonna's pipes.
 *
 *   launcher PROGRAM ARGUMENTS…
 *
 * The pipes are FIFOs in /.nonna/output, mounted there by Nonna. Both are opened
 * for reading and writing, so that the program never gets SIGPIPE, whatever
 * happens to who reads them. Where nobody reads them now (the machine has just
 * been started, say), the output stays where the engine put it.
 *
 * Freestanding: it must run in an image that holds nothing else. No libc, no
 * relocations, no memory but the stack.
 */

typedef unsigned long size;

#if defined(__x86_64__)
enum { SYS_WRITE = 1, SYS_EXECVE = 59, SYS_EXIT = 231, SYS_OPENAT = 257, SYS_DUP3 = 292, SYS_FCNTL = 72 };

static long call(long number, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
#elif defined(__aarch64__)
enum { SYS_WRITE = 64, SYS_EXECVE = 221, SYS_EXIT = 94, SYS_OPENAT = 56, SYS_DUP3 = 24, SYS_FCNTL = 25 };

static long call(long number, long a, long b, long c, long d)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}

__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tbl begin\n");
#else
#error "this processor is not known"
#endif

enum { AT_FDCWD = -100, F_DUPFD_CLOEXEC = 1030 };
enum { O_WRONLY = 1, O_RDWR = 2, O_NONBLOCK = 04000, O_CLOEXEC = 02000000 };
enum { ENOENT = 2, E2BIG = 7, ENOEXEC = 8, EACCES = 13, ENOTDIR = 20, ENAMETOOLONG = 36 };

static const char OUT[] = "/.nonna/output/out";
static const char ERR[] = "/.nonna/output/err";
/* Known to crates/logs/src/capture/pipe/launcher.rs, which leaves it out. */
static const char HINT[] = "nonna: what this container prints is kept by Nonna; read it with `nonna logs`\n";
static const char DEFAULT_PATH[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static size length(const char *text)
{
    size n = 0;
    while (text[n])
        n++;
    return n;
}

static void say(int fd, const char *text)
{
    call(SYS_WRITE, fd, (long)text, (long)length(text), 0);
}

static int open_pipe(const char *path)
{
    /* Fails where nobody reads. */
    long probe = call(SYS_OPENAT, AT_FDCWD, (long)path, O_WRONLY | O_NONBLOCK | O_CLOEXEC, 0);
    if (probe < 0)
        return -1;
    /* The probe stays open until the program is executed: from here on the pipe
     * is not without a writer. */
    return (int)call(SYS_OPENAT, AT_FDCWD, (long)path, O_RDWR | O_CLOEXEC, 0);
}

/* Does not return where it could be executed. */
static long execute(const char *path, char **arguments, int count, char **environment)
{
    long error = call(SYS_EXECVE, (long)path, (long)arguments, (long)environment, 0);
    if (error == -ENOEXEC) {
        /* A script without its first line: as a shell would do. */
        char *shell[count + 2];
        shell[0] = (char *)"/bin/sh";
        shell[1] = (char *)path;
        for (int i = 1; i <= count; i++)
            shell[i + 1] = arguments[i];
        error = call(SYS_EXECVE, (long)shell[0], (long)shell, (long)environment, 0);
    }
    return -error;
}

static long search(char **arguments, int count, char **environment)
{
    const char *name = arguments[0];
    size n = length(name);
    for (size i = 0; i < n; i++)
        if (name[i] == '/')
            return execute(name, arguments, count, environment);
    if (n == 0)
        return ENOENT;
    const char *path = DEFAULT_PATH;
    for (char **variable = environment; *variable; variable++) {
        const char *v = *variable;
        if (v[0] == 'P' && v[1] == 'A' && v[2] == 'T' && v[3] == 'H' && v[4] == '=')
            path = v + 5;
    }
    char candidate[4096];
    long found = ENOENT;
    for (;;) {
        size folder = 0;
        while (path[folder] && path[folder] != ':')
            folder++;
        if (folder + n + 3 <= sizeof candidate) {
            size at = 0;
            for (; at < folder; at++)
                candidate[at] = path[at];
            /* An empty one is the working directory. */
            if (folder == 0)
                candidate[at++] = '.';
            candidate[at++] = '/';
            for (size i = 0; i <= n; i++)
                candidate[at + i] = name[i];
            long error = execute(candidate, arguments, count, environment);
            if (error == EACCES)
                found = error;
            else if (error != ENOENT && error != ENOTDIR && error != ENAMETOOLONG)
                return error;
        }
        if (!path[folder])
            return found;
        path += folder + 1;
    }
}

__attribute__((used, noreturn)) void begin(long *stack)
{
    int count = (int)stack[0];
    char **arguments = (char **)(stack + 1);
    char **environment = arguments + count + 1;
    int engine = 2;
    if (count < 2) {
        say(2, "usage: launcher PROGRAM ARGUMENTS…\n");
        call(SYS_EXIT, 2, 0, 0, 0);
    }
    int out = open_pipe(OUT);
    int err = open_pipe(ERR);
    if (out >= 0 && err >= 0) {
        say(1, HINT);
        /* Where the engine is told that there is no such program. */
        engine = (int)call(SYS_FCNTL, 2, F_DUPFD_CLOEXEC, 3, 0);
        call(SYS_DUP3, out, 1, 0, 0);
        call(SYS_DUP3, err, 2, 0, 0);
    }
    long error = search(arguments + 1, count - 1, environment);
    const char *why = error == ENOENT || error == ENOTDIR ? "No such file or directory"
                      : error == EACCES                   ? "Permission denied"
                      : error == E2BIG                    ? "Argument list too long"
                      : error == ENOEXEC                  ? "Exec format error"
                                                          : "the kernel refuses";
    say(engine, "[FATAL nonna] exec ");
    say(engine, arguments[1]);
    say(engine, " failed: ");
    say(engine, why);
    say(engine, "\n");
    for (;;)
        call(SYS_EXIT, error == ENOENT || error == ENOTDIR ? 127 : 126, 0, 0, 0);
}
