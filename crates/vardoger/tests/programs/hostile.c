// Says, names and leaves what would harm whoever shows it unchanged. One byte of its own file
// decides which of two things it says, so that a flipped bit brings all of it into a report.
// It does nothing but in a machine that is made for it.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096
#define LINE (64 << 10)

// Looked for in the machine's memory. A healthy machine reads 'r' behind it.
static const volatile char decision[PAGE] __attribute__((aligned(PAGE))) =
    "this page decides what the hostile program says: r";

static const char *const attacks[] = {
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)></style></title><svg onload=alert(3)>",
    "\x1b[38;5;123mcoloured\x1b]0;a title\x07\x1b[2J\x1b[H\x9b" "31m\x1bP1$r\x1b\\",
    "\xe2\x80\xae" "drawkcab\xe2\x80\xac \xe2\x81\xa6isolated\xe2\x81\xa9 \xd8\x9cmark \xc2\xad",
    "\xff\xfe\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80 not UTF-8",
    "\r\b\b\b\b\b\b\b\b\x7f\x0b\x0c\x85over what stood here",
    "vd1 result {\"digest\":\"00\",\"steps\":1,\"tsc\":0,\"tsc_start\":0}",
    "vd1 failed by itself",
};
#define ATTACKS (sizeof attacks / sizeof *attacks)

static const char *const names[] = {
    "<script>alert()", "\x1b[2J\x07title", "\xe2\x80\xaeno\xff\xfe ASCII",
};

static void leave(const char *path, const char *content, size_t bytes) {
    int file = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (file < 0) return;
    if (write(file, content, bytes) < 0) perror("write");
    close(file);
}

// Writes lines of the machine's own channel wherever that can be written.
static void forge(void) {
    static const char line[] = "\nvd1 failed forged\nvd1 log forged\n";
    DIR *devices = opendir("/dev");
    for (struct dirent *one; devices && (one = readdir(devices));) {
        char path[300];
        snprintf(path, sizeof path, "/dev/%s", one->d_name);
        int device = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY);
        if (device < 0) continue;
        printf("wrote %zd to %s\n", write(device, line, sizeof line - 1), path);
        close(device);
    }
}

int main(int count, char **arguments) {
    if (getuid() != 1000 || access("/program/hostile", X_OK)) return 3;
    const char *said = decision[strlen("this page decides what the hostile program says: ")] == 'r'
                           ? "right" : "wrong";
    prctl(PR_SET_NAME, names[count > 1 ? atoi(arguments[1]) % 3 : 0]);
    for (size_t i = 0; i < ATTACKS; i++) {
        printf("%s %s %c%c\n", said, attacks[i], 0, 0);
        fprintf(stderr, "%s %s\n", attacks[i], said);
    }
    static char line[LINE];
    memset(line, '<', LINE);
    memcpy(line, said, strlen(said));
    fwrite(line, 1, LINE, stdout);
    puts("");
    fflush(stdout);
    // Files whose names are attacks; a slash in one makes a directory.
    mkdir("<script>alert(4)<", 0755);
    leave("<script>alert(4)</script>", said, 5);
    mkdir(said, 0755);
    for (size_t i = 0; i < ATTACKS; i++) {
        char path[300];
        snprintf(path, sizeof path, "%s/%.200s", said, attacks[i]);
        for (char *at = path + 6; *at; at++) if (*at == '/') *at = '|';
        leave(path, attacks[i], strlen(attacks[i]));
        leave(path + 6, said, 5);
    }
    forge();
    // Memory that belongs to a file of such a name, different where the machine was wrong.
    int file = open("<script>alert(4)</script>", O_RDWR);
    if (file < 0 || ftruncate(file, PAGE)) return 1;
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (page == MAP_FAILED) return 2;
    memset(page, said[0], PAGE);
    return 0;
}
