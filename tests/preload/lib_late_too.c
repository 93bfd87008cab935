/* The same library under another name, so that two of it can be loaded and closed independently. */
#include "lib_late.c"
