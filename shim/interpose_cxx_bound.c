/* interpose_cxx_bound.c: a file of its own, because where a function is defined the compiler knows its address better
 * than the dynamic linker does. See cxx_bound.h.
 */
#include "cxx_bound.h"

const struct cxx_bound cxx_bound = {.new_ = _Znwm,
                                    .new_array = _Znam,
                                    .new_aligned = _ZnwmSt11align_val_t,
                                    .new_array_aligned = _ZnamSt11align_val_t,
                                    .delete_ = _ZdlPv,
                                    .delete_array = _ZdaPv,
                                    .delete_aligned = _ZdlPvSt11align_val_t,
                                    .delete_array_aligned = _ZdaPvSt11align_val_t};
