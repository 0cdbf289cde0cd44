/* doctor - the parts of msgl doctor. A finding is one line: a mark and a sentence. */
#ifndef MSGL_DEPLOY_LOCAL_DOCTOR_H
#define MSGL_DEPLOY_LOCAL_DOCTOR_H

#include "common/base.h"

struct doctor {
    unsigned problems; /* things that will not work */
};

void doctor_good(const char *format, ...) PRINTF_LIKE(1, 2);
void doctor_note(const char *format, ...) PRINTF_LIKE(1, 2); /* works, worth knowing */
void doctor_bad(struct doctor *doctor, const char *format, ...) PRINTF_LIKE(2, 3);

void doctor_gpu(struct doctor *doctor);
/* The folder's files: readable, whole, and of a kind that msgl knows; its size against memory. */
void doctor_model(struct doctor *doctor, const char *path);
uint64_t doctor_memory_free(void); /* bytes that may be used, cgroup limit included */

#endif
