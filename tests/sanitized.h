/* sanitized.h: is a test built with a sanitizer? Its shadow takes most of the address space and its runtime dies when the
 * kernel says no, so what limits memory is skipped there. */
#ifndef SANITIZED_H
#define SANITIZED_H

#if defined(__has_feature)
#define SANITIZER_FEATURE(name) __has_feature(name)
#else
#define SANITIZER_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || SANITIZER_FEATURE(address_sanitizer) ||           \
	SANITIZER_FEATURE(thread_sanitizer)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

#endif
