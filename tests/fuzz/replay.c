/* replay - a fuzz target without a fuzzer: runs it over the files and folders that are named, each
 * input in a block of exactly its size, so that sanitizers see the first byte beyond. An input that
 * takes longer than INPUT_S is a hang, and ends the program. The last line is Check's, for tests/run. */
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>

#include "tests/fuzz/input.h"

#define INPUT_S 100 /* the machine may be slow and busy; a hang is for ever */

static const char *current;

static void on_alarm(int number)
{
    static const char says[] = "replay: this input hangs: ";
    (void)!write(STDERR_FILENO, says, sizeof(says) - 1);
    (void)!write(STDERR_FILENO, current, strlen(current));
    (void)!write(STDERR_FILENO, "\n", 1);
    abort();
}

static size_t replay_file(const char *path, off_t bytes)
{
    size_t len = (size_t)bytes;
    uint8_t *data = malloc(len ? len : 1);
    FILE *file = fopen(path, "r");
    CHECK(data && file && fread(data, 1, len, file) == len);
    fclose(file);
    current = path;
    alarm(INPUT_S);
    LLVMFuzzerTestOneInput(data, len);
    alarm(0);
    free(data);
    return 1;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static size_t replay(const char *path)
{
    struct dirent **entries;
    struct stat st;
    size_t done = 0;
    int count;
    if (stat(path, &st) != 0) {
        fprintf(stderr, "replay: there is no %s\n", path);
        exit(1);
    }
    if (!S_ISDIR(st.st_mode))
        return replay_file(path, st.st_size);
    count = scandir(path, &entries, visible, alphasort);
    for (int i = 0; i < count; i++) {
        char inner[4096];
        snprintf(inner, sizeof(inner), "%s/%s", path, entries[i]->d_name);
        done += replay(inner);
        free(entries[i]);
    }
    free(entries);
    return done;
}

int main(int argc, char **argv)
{
    size_t done = 0;
    signal(SIGALRM, on_alarm);
    for (int i = 1; i < argc; i++)
        done += replay(argv[i]);
    fprintf(stderr, "replay: %zu inputs\n", done);
    if (done == 0)
        return 1;
    printf("100%%: Checks: 1, Failures: 0, Errors: 0\n");
    return 0;
}
