/* The five-way majority of words as one writes it in C, for the bench of the same name.
 *
 * majority IMAGE IMAGE IMAGE IMAGE IMAGE: reads all five, then for each line of standard input
 * walks them twice, in two ways, and says for each the CPU time of this thread in nanoseconds and
 * what it counted: the words in which each image differs from the majority, and those that no
 * majority decides.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { IMAGES = 5, BLOCK = 64 };

typedef struct {
    uint64_t differing[IMAGES];
    uint64_t undecided;
} counts;

static void vote(const uint64_t *const *image, size_t at, counts *out)
{
    for (int one = 0; one <= IMAGES / 2; one++) {
        int votes = 0;
        for (int other = 0; other < IMAGES; other++)
            votes += image[other][at] == image[one][at];
        if (votes > IMAGES / 2) {
            for (int other = 0; other < IMAGES; other++)
                out->differing[other] += image[other][at] != image[one][at];
            return;
        }
    }
    out->undecided++;
}

/* Word by word. */
static void plain(const uint64_t *const *image, size_t words, counts *out)
{
    const uint64_t *a = image[0], *b = image[1], *c = image[2], *d = image[3], *e = image[4];
    for (size_t i = 0; i < words; i++)
        if (a[i] != b[i] || a[i] != c[i] || a[i] != d[i] || a[i] != e[i])
            vote(image, i, out);
}

/* By blocks that the compiler turns into vectors; words only where a block differs. */
static void blocked(const uint64_t *const *image, size_t words, counts *out)
{
    const uint64_t *a = image[0], *b = image[1], *c = image[2], *d = image[3], *e = image[4];
    for (size_t i = 0; i < words; i += BLOCK) {
        uint64_t any = 0;
        for (size_t j = i; j < i + BLOCK; j++)
            any |= (a[j] ^ b[j]) | (a[j] ^ c[j]) | (a[j] ^ d[j]) | (a[j] ^ e[j]);
        if (any)
            for (size_t j = i; j < i + BLOCK; j++)
                if (a[j] != b[j] || a[j] != c[j] || a[j] != d[j] || a[j] != e[j])
                    vote(image, j, out);
    }
}

static uint64_t *load(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        exit(2);
    *bytes = (size_t)ftell(file);
    rewind(file);
    uint64_t *image = aligned_alloc(4096, *bytes);
    if (!image || fread(image, 1, *bytes, file) != *bytes)
        exit(2);
    fclose(file);
    return image;
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int main(int argc, char **argv)
{
    const uint64_t *image[IMAGES];
    size_t bytes = 0;
    void (*ways[])(const uint64_t *const *, size_t, counts *) = {plain, blocked};
    if (argc != 1 + IMAGES)
        return 2;
    for (int one = 0; one < IMAGES; one++)
        image[one] = load(argv[1 + one], &bytes);
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
        for (int way = 0; way < 2; way++) {
            counts found;
            memset(&found, 0, sizeof found);
            uint64_t before = now();
            ways[way](image, bytes / 8, &found);
            printf("%llu", (unsigned long long)(now() - before));
            for (int one = 0; one < IMAGES; one++)
                printf(" %llu", (unsigned long long)found.differing[one]);
            printf(" %llu\n", (unsigned long long)found.undecided);
        }
        fflush(stdout);
    }
    return 0;
}
