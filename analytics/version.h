/* version.h: which sluice this is; the report, `sluice --version` and the manual page quote it.
 * The Makefile defines SLUICE_VERSION for the whole build; this is for those who compile a file by hand.
 */
#ifndef SLUICE_VERSION_H
#define SLUICE_VERSION_H

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "0.1.0"
#endif

#endif
