/* The misbehaving test app: image `nonna-test/app` (built by scripts/setup-images).
 *
 * A small HTTP server whose faults are switched on by environment variables, so that a test gets
 * any failing app in a second, from one image of 2 MB. It is on a base of busybox, so `sh`, `wget`,
 * `sleep` and `nslookup` are there for `exec` and for command health checks.
 *
 *   PORT              where it listens (8080)
 *   LISTEN_PORT       listens here instead, as an app that does not read PORT does
 *   LISTEN_HOST       the address it binds (0.0.0.0); 127.0.0.1 makes it unreachable from outside
 *   LISTEN=no         never listens at all, but keeps running
 *   APP_VERSION       the answer's first word (baked into the tags v1 and v2; otherwise "unset")
 *   START_DELAY_MS    waits so long before it listens
 *   EXIT_CODE         exits with this code …
 *   EXIT_AFTER_MS     … so long after its start (0: at once). Either of the two makes it exit
 *   EAT_MB            takes so much memory at the start and writes to it (out-of-memory kill)
 *   EAT_AFTER_MS      … so long after its start, instead of at once
 *   IGNORE_SIGTERM=1  goes on serving when told to stop
 *   TERM_DELAY_MS     on SIGTERM stops accepting, finishes open requests for so long, exits 0
 *   HEALTH_STATUS     status of /health (200)
 *   HEALTH_AFTER_MS   /health answers 503 until so long after the start
 *   HEALTH_UNTIL_MS   /health answers 503 from so long after the start
 *   HEALTH_DELAY_MS   /health answers so late
 *   NOISE_LINES       writes so many lines to stdout at the start, the last two to stderr
 *
 * Paths: /               "VERSION HOSTNAME\n"
 *        /health         "ok\n", or what the variables above make of it
 *        /env?NAME       the variable's value, 404 when it is not set
 *        /headers        the request as it came
 *        /sleep?MS       answers after so long
 *        /bytes?N        N bytes
 *        /stream?N       N chunks of one line, 100 ms apart (chunked)
 *        /echo           the request's body
 *        /count?FILE     adds one to the number in FILE and answers with it (volumes)
 *        /get?HOST:PORT/PATH   fetches http://HOST:PORT/PATH and passes the answer on (networks);
 *                        502 with the reason when it cannot
 *        /exit?N         exits with code N at once
 *        /eat?MB         takes so much memory
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX 65536

static long long started_ms;
static char hostname[256];
static volatile sig_atomic_t stopping;
static int busy; /* open requests, for TERM_DELAY_MS */
static pthread_mutex_t count_lock = PTHREAD_MUTEX_INITIALIZER;

static long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void sleep_ms(long ms) {
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000L};
    while (nanosleep(&t, &t) == -1 && errno == EINTR) {}
}

static long number(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value && *value ? atol(value) : otherwise;
}

static const char *text(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static void eat(long mb) {
    printf("eating %ld MB\n", mb);
    for (long i = 0; i < mb; i++) {
        char *block = malloc(1 << 20);
        if (!block) return;
        memset(block, 1, 1 << 20);
    }
}

static int send_all(int fd, const char *data, size_t length) {
    while (length) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        data += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static int answer(int fd, int status, const char *body, size_t length, int keep) {
    char head[256];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: %s\r\n\r\n",
                     status, status < 400 ? "OK" : "Error", length, keep ? "keep-alive" : "close");
    return send_all(fd, head, (size_t)n) || send_all(fd, body, length);
}

static int answer_text(int fd, int status, int keep, const char *format, ...) {
    char body[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(body, sizeof body, format, args);
    va_end(args);
    return answer(fd, status, body, n < (int)sizeof body ? (size_t)n : sizeof body - 1, keep);
}

static int health(int fd, int keep) {
    long long age = now_ms() - started_ms;
    sleep_ms(number("HEALTH_DELAY_MS", 0));
    if (age < number("HEALTH_AFTER_MS", 0)) return answer_text(fd, 503, keep, "not yet healthy\n");
    if (getenv("HEALTH_UNTIL_MS") && age >= number("HEALTH_UNTIL_MS", 0))
        return answer_text(fd, 503, keep, "no longer healthy\n");
    int status = (int)number("HEALTH_STATUS", 200);
    return answer_text(fd, status, keep, status < 400 ? "ok\n" : "the database is on fire\n");
}

static int count(int fd, const char *path, int keep) {
    long value = 0;
    pthread_mutex_lock(&count_lock);
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%ld", &value) != 1) value = 0;
        fclose(file);
    }
    file = fopen(path, "w");
    int failed = errno;
    if (file) {
        fprintf(file, "%ld\n", ++value);
        fclose(file);
    }
    pthread_mutex_unlock(&count_lock);
    if (!file) return answer_text(fd, 500, keep, "cannot write %s: %s\n", path, strerror(failed));
    return answer_text(fd, 200, keep, "%ld\n", value);
}

/* target is HOST:PORT/PATH */
static int fetch(int fd, const char *target, int keep) {
    char host[256], port[16] = "80";
    const char *path = strchr(target, '/');
    size_t length = path ? (size_t)(path - target) : strlen(target);
    if (length >= sizeof host) return answer_text(fd, 400, keep, "host too long\n");
    memcpy(host, target, length);
    host[length] = 0;
    char *colon = strchr(host, ':');
    if (colon) {
        *colon = 0;
        snprintf(port, sizeof port, "%s", colon + 1);
    }
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed) return answer_text(fd, 502, keep, "%s: %s\n", host, gai_strerror(failed));
    int up = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {3, 0};
    setsockopt(up, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(up, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(up, found->ai_addr, found->ai_addrlen)) {
        failed = errno;
        freeaddrinfo(found);
        close(up);
        return answer_text(fd, 502, keep, "%s:%s: %s\n", host, port, strerror(failed));
    }
    freeaddrinfo(found);
    char buffer[REQUEST_MAX];
    int n = snprintf(buffer, sizeof buffer, "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n",
                     path ? path : "/", host);
    send_all(up, buffer, (size_t)n);
    size_t have = 0;
    ssize_t got;
    while (have < sizeof buffer - 1 && (got = recv(up, buffer + have, sizeof buffer - 1 - have, 0)) > 0)
        have += (size_t)got;
    close(up);
    buffer[have] = 0;
    char *body = strstr(buffer, "\r\n\r\n");
    if (!body) return answer_text(fd, 502, keep, "%s:%s: no answer\n", host, port);
    int status = atoi(buffer + 9);
    return answer(fd, status, body + 4, have - (size_t)(body + 4 - buffer), keep);
}

static int stream(int fd, long chunks) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    if (send_all(fd, head, sizeof head - 1)) return -1;
    for (long i = 1; i <= chunks; i++) {
        char line[32], chunk[64];
        int n = snprintf(line, sizeof line, "chunk %ld\n", i);
        n = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", n, line);
        if (send_all(fd, chunk, (size_t)n)) return -1;
        sleep_ms(100);
    }
    send_all(fd, "0\r\n\r\n", 5);
    return -1;
}

/* One request that is wholly in `request`; the body may be partly read. */
static int route(int fd, char *request, size_t head, size_t have, int keep) {
    char method[16], path[2048];
    if (sscanf(request, "%15s %2047s", method, path) != 2) return answer_text(fd, 400, 0, "bad request\n") || 1;
    char *query = strchr(path, '?');
    if (query) *query++ = 0;
    const char *argument = query ? query : "";

    if (!strcmp(path, "/")) return answer_text(fd, 200, keep, "%s %s\n", text("APP_VERSION", "unset"), hostname);
    if (!strcmp(path, "/health")) return health(fd, keep);
    if (!strcmp(path, "/env")) {
        const char *value = getenv(argument);
        return value ? answer_text(fd, 200, keep, "%s\n", value) : answer_text(fd, 404, keep, "not set\n");
    }
    if (!strcmp(path, "/headers")) return answer(fd, 200, request, head, keep);
    if (!strcmp(path, "/sleep")) {
        sleep_ms(atol(argument));
        return answer_text(fd, 200, keep, "%s slept\n", text("APP_VERSION", "unset"));
    }
    if (!strcmp(path, "/bytes")) {
        size_t length = (size_t)atol(argument);
        char *body = malloc(length + 1);
        if (!body) return answer_text(fd, 500, keep, "no memory\n");
        memset(body, 'x', length);
        int failed = answer(fd, 200, body, length, keep);
        free(body);
        return failed;
    }
    if (!strcmp(path, "/stream")) return stream(fd, query ? atol(argument) : 3);
    if (!strcmp(path, "/echo")) return answer(fd, 200, request + head, have - head, keep);
    if (!strcmp(path, "/count")) return count(fd, argument, keep);
    if (!strcmp(path, "/get")) return fetch(fd, argument, keep);
    if (!strcmp(path, "/exit")) _exit(atoi(argument));
    if (!strcmp(path, "/eat")) {
        eat(atol(argument));
        return answer_text(fd, 200, keep, "ate %s MB\n", argument);
    }
    return answer_text(fd, 404, keep, "no such path: %s\n", path);
}

/* Header lines are matched at line starts, whatever the case. */
static const char *header(const char *request, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(request, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (!strncasecmp(line + 2, name, length) && line[2 + length] == ':') {
            line += 3 + length;
            while (*line == ' ') line++;
            return line;
        }
    return NULL;
}

static void *serve(void *argument) {
    int fd = (int)(long)argument;
    char *request = malloc(REQUEST_MAX + 1);
    size_t have = 0;
    for (int keep = 1; request && keep;) {
        char *end;
        request[have] = 0;
        while (!(end = strstr(request, "\r\n\r\n"))) {
            ssize_t got = have < REQUEST_MAX ? recv(fd, request + have, REQUEST_MAX - have, 0) : 0;
            if (got <= 0) goto done;
            have += (size_t)got;
            request[have] = 0;
        }
        __sync_add_and_fetch(&busy, 1);
        size_t head = (size_t)(end + 4 - request);
        char saved = request[head];
        request[head] = 0;
        const char *length = header(request, "content-length");
        const char *connection = header(request, "connection");
        keep = !(connection && !strncasecmp(connection, "close", 5)) && !strstr(request, "HTTP/1.0\r\n");
        size_t whole = head + (length ? (size_t)atol(length) : 0);
        request[head] = saved;
        if (whole > REQUEST_MAX) {
            answer_text(fd, 413, 0, "too large\n");
            keep = 0;
        } else {
            ssize_t got = 1;
            while (have < whole && (got = recv(fd, request + have, REQUEST_MAX - have, 0)) > 0) have += (size_t)got;
            request[have] = 0;
            if (got <= 0 || route(fd, request, head, whole, keep && !stopping)) keep = 0;
        }
        if (stopping) keep = 0;
        __sync_sub_and_fetch(&busy, 1);
        if (keep) {
            memmove(request, request + whole, have - whole);
            have -= whole;
        }
    }
done:
    free(request);
    /* An orderly close, so that the last answer is not lost to a reset. */
    shutdown(fd, SHUT_WR);
    close(fd);
    return NULL;
}

static void *faults(void *unused) {
    (void)unused;
    long exit_after = getenv("EXIT_CODE") || getenv("EXIT_AFTER_MS") ? number("EXIT_AFTER_MS", 0) : -1;
    long eat_after = getenv("EAT_MB") ? number("EAT_AFTER_MS", 0) : -1;
    for (;;) {
        long long age = now_ms() - started_ms;
        if (eat_after >= 0 && age >= eat_after) {
            eat(number("EAT_MB", 0));
            eat_after = -1;
        }
        if (exit_after >= 0 && age >= exit_after) {
            fprintf(stderr, "fatal: exiting with code %ld, as told\n", number("EXIT_CODE", 0));
            exit((int)number("EXIT_CODE", 0));
        }
        if (exit_after < 0 && eat_after < 0) return NULL;
        sleep_ms(5);
    }
}

static void on_term(int signal) {
    (void)signal;
    stopping = 1;
}

int main(void) {
    started_ms = now_ms();
    setvbuf(stdout, NULL, _IOLBF, 0);
    gethostname(hostname, sizeof hostname - 1);
    signal(SIGPIPE, SIG_IGN);
    /* As pid 1 a process has no default action for SIGTERM: both cases are said. */
    struct sigaction action = {.sa_handler = number("IGNORE_SIGTERM", 0) ? SIG_IGN : on_term};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    long noise = number("NOISE_LINES", 0);
    for (long i = 1; i <= noise; i++) fprintf(i + 2 > noise ? stderr : stdout, "noise %ld\n", i);

    printf("version %s starting\n", text("APP_VERSION", "unset"));
    if (getenv("EXIT_CODE") || getenv("EXIT_AFTER_MS") || getenv("EAT_MB")) {
        pthread_t thread;
        /* At once means before anything listens. */
        if (!number("EXIT_AFTER_MS", 0) && !number("EAT_AFTER_MS", 0) && !getenv("EAT_AFTER_MS")) faults(NULL);
        else pthread_create(&thread, NULL, faults, NULL);
    }
    for (long left = number("START_DELAY_MS", 0); left > 0 && !stopping; left -= 10) sleep_ms(10);

    if (!strcmp(text("LISTEN", "yes"), "no")) {
        printf("not listening, as told\n");
        while (!stopping) sleep_ms(50);
        return 0;
    }

    long port = number("LISTEN_PORT", number("PORT", 8080));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    const char *host = text("LISTEN_HOST", "0.0.0.0");
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "fatal: LISTEN_HOST %s is no address\n", host);
        return 2;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
        fprintf(stderr, "fatal: cannot listen on %s:%ld: %s\n", host, port, strerror(errno));
        return 1;
    }
    printf("listening on %s:%ld\n", host, port);
    while (!stopping) {
        /* Looked at again every 50 ms: the signal may have gone to another thread, or come just
         * before the wait. */
        struct pollfd wait = {.fd = listener, .events = POLLIN};
        if (poll(&wait, 1, 50) <= 0) continue;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pthread_t thread;
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&small, 256 * 1024);
        if (pthread_create(&thread, &small, serve, (void *)(long)fd)) close(fd);
        pthread_attr_destroy(&small);
    }
    close(listener);
    long long until = now_ms() + number("TERM_DELAY_MS", 5000);
    while (__sync_add_and_fetch(&busy, 0) > 0 && now_ms() < until) sleep_ms(10);
    printf("stopped\n");
    return 0;
}
