/* A guest whose kernel itself tells what every page frame is: /proc/kpageflags, as one line of
 * hexadecimal numbers on the debug console, each 16 digits. Then it asks to be stopped.
 *
 * Some processes, pipes, sockets and files are there by then, so that there is something to tell.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEBUG_CONSOLE = 0xe9, PANIC = 0x505, PANICKED = 1, FRAMES = 1 << 16, CHILDREN = 4 };

static uint64_t flags[FRAMES];

static void live(void)
{
    size_t bytes = 512 << 10;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED)
        memset(memory, 0x5a, bytes);
    for (;;)
        pause();
}

static void inhabit(void)
{
    for (int child = 0; child < CHILDREN; child++)
        if (fork() == 0)
            live();
    for (int number = 0; number < 16; number++) {
        int ends[2];
        static char content[3000];
        char name[] = "/file-a";
        name[6] = (char)('a' + number);
        int file = open(name, O_CREAT | O_WRONLY, 0600);
        if (pipe(ends) == 0 && write(ends[1], content, sizeof content) < 0)
            return;
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && write(ends[0], name, sizeof name) < 0)
            return;
        if (file >= 0 && write(file, content, sizeof content) < 0)
            return;
    }
}

static size_t ask(void)
{
    size_t have = 0;
    int file = open("/proc/kpageflags", O_RDONLY);
    while (file >= 0 && have < sizeof flags) {
        ssize_t more = read(file, (char *)flags + have, sizeof flags - have);
        if (more <= 0)
            break;
        have += (size_t)more;
    }
    return have / sizeof *flags;
}

int main(void)
{
    if (iopl(3) || mount("proc", "/proc", "proc", 0, NULL))
        return 1;
    inhabit();
    /* Touched before it is asked for: what is told then is still true afterwards. */
    memset(flags, 0xff, sizeof flags);
    ask();
    size_t frames = ask();
    for (size_t frame = 0; frame < frames; frame++)
        for (int digit = 15; digit >= 0; digit--)
            outb("0123456789abcdef"[flags[frame] >> (4 * digit) & 15], DEBUG_CONSOLE);
    outb('\n', DEBUG_CONSOLE);
    outb(PANICKED, PANIC);
    for (;;)
        pause();
}
