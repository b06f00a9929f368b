/* What gcc's unwinder asks glibc and musl does not have: where the unwind table of a program is that
   holds an address. Without an answer a backtrace ends in abort(). */
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>
#include <stdint.h>

/* As in glibc's dlfcn.h. */
struct dl_find_object {
    unsigned long long flags;
    void *map_start, *map_end;
    struct link_map *link_map;
    void *eh_frame;
    unsigned long long reserved[7];
};

struct question {
    uintptr_t address;
    struct dl_find_object *answer;
};

static int look(struct dl_phdr_info *object, size_t size, void *data) {
    struct question *question = data;
    void *table = NULL;
    int inside = 0;
    (void)size;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        uintptr_t start = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
        uintptr_t end = start + object->dlpi_phdr[i].p_memsz;
        if (object->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME) {
            table = (void *)start;
        } else if (object->dlpi_phdr[i].p_type == PT_LOAD && start <= question->address && question->address < end) {
            inside = 1;
            question->answer->map_start = (void *)start;
            question->answer->map_end = (void *)end;
        }
    }
    question->answer->eh_frame = table;
    return inside && table;
}

int _dl_find_object(void *address, struct dl_find_object *answer) {
    struct question question = {(uintptr_t)address, answer};
    return dl_iterate_phdr(look, &question) ? 0 : -1;
}
