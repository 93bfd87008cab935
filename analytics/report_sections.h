/* report_sections.h: the second half of loading a report, for report_load.c alone. */
#ifndef SLUICE_REPORT_SECTIONS_H
#define SLUICE_REPORT_SECTIONS_H

#include "analytics/report_load.h"

#include <jansson.h>

/* Fills `r` from the tree. Returns false when something has the wrong type, with its path in `wrong`; the report is
 * whole enough then to be closed. */
bool report_read_sections(struct report *r, const json_t *root, char *wrong, size_t wrong_bytes);

#endif
