/* Writes numbered lines of 100 bytes to standard output, one write(2) each:
 * as fast as it can, or so many a second. Then it says in a file how long that
 * took, how long the longest write took, and how many there were.
 *
 *   writer LINES RATE FILE
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    uint64_t lines = strtoull(argv[1], 0, 10), rate = strtoull(argv[2], 0, 10);
    char line[101];
    memset(line, 'x', sizeof line);
    line[99] = '\n';
    uint64_t begun = now(), longest = 0, before = begun;
    for (uint64_t n = 0; n < lines; n++) {
        char number[16];
        snprintf(number, sizeof number, "%010llu ", (unsigned long long)n);
        memcpy(line, number, 11);
        if (rate) {
            uint64_t due = begun + n * (1000000000u / rate);
            if (before < due && n % 10 == 0) {
                struct timespec pause = { 0, (long)(due - before) };
                nanosleep(&pause, 0);
            }
            before = now();
        }
        for (size_t at = 0; at < 100;) {
            ssize_t wrote = write(1, line + at, 100 - at);
            if (wrote < 0)
                return 1;
            at += (size_t)wrote;
        }
        uint64_t after = now();
        if (after - before > longest)
            longest = after - before;
        before = after;
    }
    char text[128];
    int length = snprintf(text, sizeof text, "%.9f %.6f %llu\n", (now() - begun) / 1e9, longest / 1e6,
                          (unsigned long long)lines);
    int file = open(argv[3], O_WRONLY);
    if (file < 0 || write(file, text, (size_t)length) != length)
        return 1;
    close(file);
    /* What it cost is asked of the container's processes while they live. */
    for (;;)
        pause();
}
