# sluice: `make demo` to see it, `make test` to check it, `make help` for the rest.
#
# Sources of the product are listed one by one, sorted; `make check` fails when a file is missing from its list. Tests
# are found by name instead (scripts/README.md has the convention), so that none can be forgotten. A variant is built
# whole in a folder of its own: V=debug goes to build/debug/, the release to build/ itself. Any change of compiler or
# flags rebuilds what it concerns, through the file `flags` that every object depends on.
VERSION := $(shell sed -n 's/^\#define SLUICE_VERSION "\(.*\)"/\1/p' analytics/version.h)
PREFIX  ?= /usr/local
V       ?= release
O       ?= build$(if $(filter-out release,$(V)),/$(V))
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := $(if $(findstring clang,$(CC)),clang++,g++)
endif

POOLS     := $(patsubst %,pools/%.c,classes decay heap huge lock meta node os pool range remote runs walk)
SHIM      := $(patsubst %,shim/%.c,allocate budget chance conf connection context early eh_frame facts fallback fallback_math fallback_start \
             frame identity inert interpose_cxx interpose_cxx_bound interpose_exit interpose_jemalloc interpose_limits \
             interpose_malloc interpose_socket interpose_stats lifetime mapping module pressure process publish \
             publish_threads ready report request request_book request_sum request_top resident route \
             sample sample_table site site_peak stack sum symbols thread unwind unwind_libunwind wrapper_names)
# One of two implementations of shim/unwind.h: the own reader knows x86-64 only.
UNWIND_BY := $(if $(filter libunwind,$(V))$(filter-out x86_64-%,$(shell $(CC) -dumpmachine)),unwind_libunwind,eh_frame unwind)
SHIM_USED := $(filter-out $(patsubst %,shim/%.c,$(filter-out $(UNWIND_BY),eh_frame unwind unwind_libunwind)),$(SHIM))
ANALYTICS := $(patsubst %,analytics/%.c,cmd_doctor cmd_help cmd_report cmd_run command demangle elf_inspect flags \
             forecast human_units interval json_out main memory message names nearest optionset program_find render \
             render_fields render_requests render_samples render_sites render_values render_view report_load report_memory report_requests report_rows \
             report_sections report_view request_view rows_json run_child run_report site_callers site_facts site_view source_lines \
             symbol_file table tally_view terminal)
# Files of shim/ that define public symbols: they go into the library only, never into a test.
INTERPOSE := $(filter shim/interpose%,$(SHIM))
# Files of analytics/ that the library carries too: they allocate nothing and use no stdio.
RENDER    := $(filter analytics/json_out.c analytics/render%.c,$(ANALYTICS))

UNITS   := $(sort $(wildcard tests/unit/*.c))
DRIVERS := $(sort $(wildcard tests/*/test_*.c))
VICTIMS := $(sort $(wildcard tests/preload/victim_*.c tests/preload/victim_*.cc tests/preload/lib_*.c))
SUPPORT := $(sort $(filter-out $(DRIVERS) $(VICTIMS) tests/tsan_arena.c,$(wildcard tests/*.c tests/preload/*.c)))

WARN    := -Wall -Wextra -Wmissing-prototypes -Wundef -Wshadow $(WERROR)
MODE_release := -O2 -DNDEBUG
MODE_debug   := -O0 -fno-omit-frame-pointer
MODE_audit   := -O2 -DSLUICE_AUDIT
MODE_bare    := -O2 -DNDEBUG -DSLUICE_BARE
MODE_identity := -O2 -DNDEBUG -DSLUICE_IDENTITY
MODE_libunwind := -O2 -DNDEBUG
MODE_asan    := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
MODE_tsan    := -O1 -fno-omit-frame-pointer -fsanitize=thread $(if $(findstring clang,$(CC)),,-Wno-tsan)
MODE    := $(or $(MODE_$(V)),$(error V=$(V): no such variant; one of release debug audit bare identity libunwind asan tsan))
# _GNU_SOURCE is empty, as a file that defines it again would have it.
CPPFLAGS_ALL := -I. -D_GNU_SOURCE= -DSLUICE_VERSION='"$(VERSION)"' $(CPPFLAGS)
CFLAGS_ALL   := -std=c11 $(MODE) -g -pthread -fPIC -fvisibility=hidden -fno-semantic-interposition \
                -ftls-model=initial-exec -fno-plt $(WARN) $(CFLAGS)
# In shim/ the compiler must not turn our own calls of malloc and free into what it knows of them, nor (slp) add to two
# neighbouring counters as one vector: on the hot path of malloc that is seven instructions for two.
CFLAGS_SHIM := $(addprefix -fno-builtin-,malloc calloc realloc free) -fno-tree-slp-vectorize -falign-functions=64
$(O)/obj/shim/%.o: CFLAGS_DIR := $(CFLAGS_SHIM)
# Bound at load (`now`): a lazy binding could enter the linker, and so malloc, from inside malloc. Never unloaded.
LDFLAGS_SO := -shared -Wl,-soname,libsluice.so -Wl,--version-script=shim/sluice.map -Wl,-z,defs -Wl,-z,now \
              -Wl,-z,relro -Wl,-z,nodelete -Wl,-T,shim/apart.ld -Wl,--as-needed -static-libgcc
# libunwind-generic is the part of libunwind that reads through accessors of its caller.
SHIM_LIBS = $(if $(filter unwind_libunwind,$(UNWIND_BY)),$(call pkg,--libs,libunwind-generic))
COMMAND_PKGS := libdw libelf jansson
COMMAND_LIBS := -liberty # has no pkg-config file; only a static library exists
pkg = $(shell pkg-config $(1) $(2) 2>/dev/null)

obj = $(patsubst %,$(O)/obj/%.o,$(basename $(1)))
LIB_OBJ     := $(call obj,$(POOLS) $(SHIM_USED) $(RENDER)) $(O)/jemalloc.o
CORE_OBJ    := $(call obj,$(POOLS) $(filter-out $(INTERPOSE),$(SHIM_USED)) $(filter-out analytics/main.c,$(ANALYTICS))) \
               $(O)/jemalloc.o
UNIT_BIN    := $(patsubst tests/unit/%.c,$(O)/tests/%,$(UNITS))
DRIVER_BIN  := $(patsubst %.c,$(O)/%,$(DRIVERS))
VICTIM_BIN  := $(addprefix $(O)/tests/victims/,$(patsubst victim_%,%,$(patsubst lib_%,lib%.so,$(notdir $(basename $(VICTIMS))))))
# A sanitizer has its own malloc, so there only what links objects is tested.
TEST_BIN    := $(UNIT_BIN) $(if $(filter asan tsan,$(V)),,$(DRIVER_BIN) $(VICTIM_BIN))
PRODUCT     := $(O)/sluice $(if $(filter asan tsan,$(V)),,$(O)/libsluice.so)

MAKEFLAGS += --no-print-directory
# `make test` builds on all processors, unless -j said how many.
J = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
# One short line a step; VERBOSE=1 shows the commands.
run = $(if $(VERBOSE),,@echo '  $(1) $@';)
.DELETE_ON_ERROR:
.SECONDARY:
$(if $(filter clean,$(MAKECMDGOALS)),$(eval .NOTPARALLEL:)) # so that `make -j clean all` cleans first
.PHONY: all binaries test check bench bench-quick bench-prove bench-tools demo soak fresh-root install uninstall format clean help FORCE \
        debug audit asan tsan list-pools list-shim list-analytics

all: $(PRODUCT)
binaries: $(PRODUCT) $(TEST_BIN)
debug audit asan tsan:
	@$(MAKE) $J V=$@ all

# --- objects --------------------------------------------------------------------------------------------------------
FLAGS_NOW := $(CC) $(CXX) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(CFLAGS_SHIM) $(LDFLAGS)
$(O)/flags: FORCE
	@mkdir -p $(@D) && echo '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || echo '$(subst ','\'',$(FLAGS_NOW))' >$@
$(O)/obj/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(call run,CC  )$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(CFLAGS_DIR) -MMD -MP -c -o $@ $<
$(O)/jemalloc.o: scripts/build-jemalloc
	$(call run,JE  )CC='$(CC)' scripts/build-jemalloc $@
-include $(patsubst %.o,%.d,$(call obj,$(POOLS) $(SHIM) $(ANALYTICS) $(UNITS) $(DRIVERS) $(SUPPORT)))
-include $(VICTIM_BIN:=.d)

# --- the product ----------------------------------------------------------------------------------------------------
$(O)/libsluice.so: $(LIB_OBJ) shim/sluice.map shim/apart.ld
	$(call run,LINK)$(CC) $(CFLAGS_ALL) $(LDFLAGS_SO) $(LDFLAGS) -o $@ $(LIB_OBJ) $(SHIM_LIBS)
$(call obj,$(ANALYTICS)): CFLAGS_DIR := $(call pkg,--cflags,$(COMMAND_PKGS))
$(O)/sluice: $(call obj,$(ANALYTICS))
	$(call run,LINK)$(CC) $(CFLAGS_ALL) -Wl,--as-needed $(LDFLAGS) -o $@ $^ $(call pkg,--libs,$(COMMAND_PKGS)) $(COMMAND_LIBS) -lm

# --- tests ----------------------------------------------------------------------------------------------------------
$(O)/tests/core.a: $(CORE_OBJ)
	$(call run,AR  )rm -f $@ && mkdir -p $(@D) && $(AR) qcs $@ $^ # not r: two rooms may have a file of one name
$(O)/tests/support.a: $(call obj,$(SUPPORT)) $(O)/flags
	$(call run,AR  )rm -f $@ && mkdir -p $(@D) && $(AR) qcs $@ $(filter %.o,$^)
$(O)/obj/tests/tsan_arena.o: CFLAGS_DIR := -fno-sanitize=all
TSAN_ARENA := $(if $(filter tsan,$(V)),$(O)/obj/tests/tsan_arena.o)
LINK_TEST = mkdir -p $(@D) && $(CC) $(CFLAGS_ALL) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group \
            $(filter %.a,$^) -Wl,--end-group $(call pkg,--libs,criterion libunwind $(COMMAND_PKGS)) $(COMMAND_LIBS) $(SHIM_LIBS) -lm -ldl -static-libgcc
$(UNIT_BIN): $(O)/tests/%: $(O)/obj/tests/unit/%.o $(TSAN_ARENA) $(O)/tests/support.a $(O)/tests/core.a
	$(call run,LINK)$(LINK_TEST)
$(DRIVER_BIN): $(O)/tests/%: $(O)/obj/tests/%.o $(O)/tests/support.a $(O)/tests/core.a
	$(call run,LINK)$(LINK_TEST)
# A victim is a plain program without sluice. It may ask for flags in a line of its own:  /* build: -static */
VICTIM_CC = mkdir -p $(@D) && $(1) $(2) -I. -O1 -g -Wall -Wextra $(WERROR) -fno-builtin -pthread -MMD -MP -MF $@.d \
            -o $@ $< $$(sed -n 's,^/[/*] build: \([^*]*\).*,\1,p' $<) -ldl
$(O)/tests/victims/%: tests/preload/victim_%.c $(O)/flags
	$(call run,LINK)$(call VICTIM_CC,$(CC) -std=c11 -D_GNU_SOURCE=,-rdynamic)
$(O)/tests/victims/%: tests/preload/victim_%.cc $(O)/flags
	$(call run,LINK)$(call VICTIM_CC,$(CXX) -std=c++17,-rdynamic)
$(O)/tests/victims/lib%.so: tests/preload/lib_%.c $(O)/flags
	$(call run,LINK)$(call VICTIM_CC,$(CC) -std=c11 -D_GNU_SOURCE=,-shared -fPIC)

# --- benchmark programs ---------------------------------------------------------------------------------------------
# Plain programs that know no allocator, always with the flags of an ordinary release build, whatever V is; and
# libraries to preload (*_malloc.c).
BENCH_C   := $(sort $(wildcard scripts/bench/tools/*.c scripts/bench/proof/*.c scripts/bench/micro/*.c))
BENCH_LIB := $(patsubst %.c,$(O)/bench/lib%.so,$(notdir $(filter %_malloc.c,$(BENCH_C))))
BENCH_BIN := $(patsubst %.c,$(O)/bench/%,$(notdir $(filter-out %_malloc.c,$(BENCH_C)))) $(BENCH_LIB)
vpath %.c $(sort $(dir $(BENCH_C)))
BENCH_CC   = mkdir -p $(@D) && $(CC) -std=c11 -D_GNU_SOURCE= -O2 -g -fno-builtin -pthread -Wall -Wextra \
             -Wmissing-prototypes -Wshadow $(WERROR) -MMD -MP -MF $@.d $(1) -o $@ $< -ldl
$(BENCH_LIB): $(O)/bench/lib%.so: %.c $(O)/flags
	$(call run,LINK)$(call BENCH_CC,-shared -fPIC)
$(filter-out $(BENCH_LIB),$(BENCH_BIN)): $(O)/bench/%: %.c $(O)/flags
	$(call run,LINK)$(call BENCH_CC)
-include $(BENCH_BIN:=.d)

# What the tests of scripts/ab run.
binaries: $(if $(filter asan tsan,$(V)),,$(filter %/meter %/planted %/libglibc_malloc.so %/libslow_malloc.so,$(BENCH_BIN)))

# --- what people call -----------------------------------------------------------------------------------------------
bench-tools: $(BENCH_BIN) ## what scripts/ab needs: its meter, the micro benchmarks
test: ## install what is missing, build, run every test; T=PATTERN for some
	@scripts/deps test
	@$(MAKE) $J binaries
	@SLUICE_BUILD=$(O) scripts/run-tests $(if $(filter asan tsan,$(V)),--only=unit) $(T)
check: ## every check that is not a test: format, lint, include law, symbols, compilers, sanitizers
	@scripts/deps check
	@scripts/check $(C)
soak: ## the long counts: hours, not minutes
	@scripts/deps test
	@$(MAKE) $J binaries
	@SLUICE_BUILD=$(O) SLUICE_SOAK=1 scripts/run-tests $(T)
bench: ## sluice beside every peer: tables and pictures into OUT (over half an hour)
	@scripts/deps bench
	@$(MAKE) $J all bench-tools
	@SLUICE_BUILD=$(O) scripts/bench/suite $(if $(OUT),--out $(OUT)) $(B)
bench-quick: ## the essential table, in under three minutes
	@scripts/deps bench
	@$(MAKE) $J all bench-tools
	@SLUICE_BUILD=$(O) scripts/bench/suite --quick $(B)
bench-prove: ## does scripts/ab find what is there, and nothing where nothing is?
	@scripts/deps bench
	@$(MAKE) $J bench-tools
	@SLUICE_BUILD=$(O) scripts/bench/prove $(B)
demo: ## install what is missing, build, run a real program, show its report
	@scripts/demo
fresh-root: ## `make demo` and `make test` in a Debian root made for it (root only)
	@scripts/fresh-root $(F)
install: all ## library, command, manual page, pkg-config file, below DESTDIR and PREFIX
	install -D -m 755 $(O)/libsluice.so $(DESTDIR)$(PREFIX)/lib/libsluice.so
	install -D -m 755 $(O)/sluice $(DESTDIR)$(PREFIX)/bin/sluice
	install -D -m 644 analytics/sluice.1 $(DESTDIR)$(PREFIX)/share/man/man1/sluice.1
	mkdir -p $(DESTDIR)$(PREFIX)/lib/pkgconfig
	sed -e 's,@PREFIX@,$(PREFIX),' -e 's,@VERSION@,$(VERSION),' scripts/sluice.pc.in \
		>$(DESTDIR)$(PREFIX)/lib/pkgconfig/sluice.pc
uninstall: ## take away what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,lib/libsluice.so bin/sluice share/man/man1/sluice.1 lib/pkgconfig/sluice.pc)
format: ## write every C file as .clang-format says
	git ls-files '*.c' '*.h' '*.cc' | xargs clang-format -i
list-pools list-shim list-analytics: # for scripts/check-sources
	@echo $($(subst LIST-,,$(shell echo $@ | tr a-z A-Z)))
clean: ## remove build/
	rm -rf build
help: ## this list
	@sed -n 's/^\([a-z-]*\)[a-z -]*:[^#]*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-11s %s\n", $$1, $$2}'
