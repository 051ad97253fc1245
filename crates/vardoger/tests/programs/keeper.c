// Fills pages of four kinds of memory, says where they are, and keeps them to its end. Each page
// says in its first words that it is one, and where.
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 8
#define WORDS 512
#define MARK 0x76c3a5e1d20f4b97ul

typedef unsigned long page[WORDS];

// Not zero, so that it stands in the file.
static page data[PAGES] __attribute__((aligned(4096))) = {{1}};

// The word at an address, of a page that is kept.
static unsigned long word(unsigned long address) {
    return (address ^ MARK) * 0x9e3779b97f4a7c15ul;
}

static void fill(const char *kind, page *pages) {
    for (int p = 0; p < PAGES; p++)
        for (int w = 0; w < WORDS; w++) pages[p][w] = word((unsigned long)&pages[p][w]);
    printf("%s %p %zu\n", kind, (void *)pages, sizeof(page) * PAGES);
}

int main(void) {
    page stack[PAGES] __attribute__((aligned(4096)));
    printf("pid %d\n", (int)getpid());
    fill("data", data);
    fill("heap", aligned_alloc(4096, sizeof(page) * PAGES));
    fill("anonymous", mmap(NULL, sizeof(page) * PAGES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    fill("stack", stack);
    // Used once more, so that no compiler leaves them out.
    return ((volatile unsigned long *)stack)[7] == ((volatile unsigned long *)data)[7];
}
