// Prints a digest of 2 MiB of its own data: one wrong bit changes what it prints.
#include <stdio.h>

static const unsigned char data[2 << 20] = {1, 2, 3};

int main(void) {
    unsigned long sum = 14695981039346656037ul;
    const volatile unsigned char *at = data;
    for (unsigned long i = 0; i < sizeof data; i++) sum = (sum ^ at[i]) * 1099511628211ul;
    printf("%lx\n", sum);
    return 0;
}
