/* Runs a fuzz target over every file of a corpus folder, as one TAP case each: what the fuzzers found
 * once is tested always. Without a corpus the empty input is the one case. */
#include "base/fs.h"
#include "base/heap.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int main(int argc, char **argv)
{
    struct fs_names names = {0};
    struct err err = ERR_INIT;
    size_t cases = 1;

    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    printf("ok 1 - empty input\n");
    if (argc > 1 && fs_list(fs_posix(), argv[1], &names, &err) == ST_OK)
        for (size_t i = 0; i < names.n; i++) {
            char path[FS_PATH_MAX], *p;
            size_t n;

            if (!fs_join(path, argv[1], names.p[i]) ||
                fs_read_file(fs_posix(), path, (size_t)64 << 20, &p, &n, &err) != ST_OK) {
                printf("not ok %zu - %s: %s\n", ++cases, names.p[i], err.msg);
                continue;
            }
            LLVMFuzzerTestOneInput((const uint8_t *)p, n);
            heap_free(p);
            printf("ok %zu - %s\n", ++cases, names.p[i]);
        }
    fs_names_free(&names);
    printf("1..%zu\n", cases);
    return 0;
}
