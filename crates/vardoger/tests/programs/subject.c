// What a user's program may do to its machine: the first argument says which.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// Reads a file whole and gives its length.
static size_t copy(FILE *from, FILE *to) {
    size_t total = 0;
    for (int c; (c = fgetc(from)) != EOF; total++)
        if (to) fputc(c, to);
    return total;
}

static void leave(const char *path, size_t bytes, char fill) {
    FILE *file = fopen(path, "w");
    if (!file) exit(99);
    while (bytes--) fputc(fill, file);
    fclose(file);
}

// Reads what it was given, leaves what it made, exits with 7.
static int work(int count, char **arguments) {
    for (int i = 2; i < count; i++) printf("argument %s\n", arguments[i]);
    FILE *input = fopen("input", "r");
    if (!input) return 98;
    copy(input, stdout);
    printf("stdin %zu\n", copy(stdin, NULL));
    printf("user %d home %s\n", (int)getuid(), getenv("HOME"));
    fprintf(stderr, "oops\n");
    mkdir("d", 0755);
    leave("d/out", 3, 'm');
    leave("long", 100000, 0);
    return 7;
}

// Fills the disk; the error is its own to deal with.
static int fill(void) {
    static char block[65536];
    int file = open("f", O_CREAT | O_WRONLY, 0644);
    long total = 0;
    for (ssize_t n; (n = write(file, block, sizeof block)) > 0;) total += n;
    printf("%s after %ld MiB\n", strerror(errno), total >> 20);
    return 0;
}

// Forks until it is refused; what it leaves never ends.
static int breed(void) {
    int children = 0;
    for (;; children++) {
        int pid = fork();
        if (pid < 0) break;
        if (pid == 0) for (;;) fork(), usleep(1000);
    }
    printf("%s after some: %d\n", strerror(errno), children > 10);
    return 0;
}

static int eat(void) {
    for (;;) {
        char *memory = malloc(1 << 20);
        if (!memory) return 1;
        memset(memory, 1, 1 << 20);
    }
}

static int rest(void) {
    for (int i = 0; i < 5; i++) {
        sleep(2);
        printf("%ld\n", (long)time(NULL) % 60);
    }
    return 0;
}

static int flood(long lines) {
    while (lines--) fputs("y\n", stdout);
    return 0;
}

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "work")) return work(count, arguments);
    if (!strcmp(what, "crash")) return *(volatile int *)8;
    if (!strcmp(what, "fill")) return fill();
    if (!strcmp(what, "breed")) return breed();
    if (!strcmp(what, "eat")) return eat();
    if (!strcmp(what, "rest")) return rest();
    if (!strcmp(what, "flood")) return flood(atol(arguments[2]));
    if (!strcmp(what, "spin")) for (;;);
    if (!strcmp(what, "exit")) return atoi(arguments[2]);
    return 97;
}
