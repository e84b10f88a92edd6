/* SPDX-License-Identifier: BSD-3-Clause */
/* libc's own function of a name that the preload takes. */
#ifndef DAXFUSE_DAXMAP_NEXT_H
#define DAXFUSE_DAXMAP_NEXT_H

#include <dlfcn.h>

/* The functions of the preload are seen by the program, all else is not. */
#define EXPORTED __attribute__((visibility("default")))

/* Looked up when first called: a program may call before constructors have run. */
#define NEXT(name)                                                                      \
	({                                                                              \
		static __typeof__(&(name)) next_;                                       \
		__typeof__(&(name)) found_ = __atomic_load_n(&next_, __ATOMIC_RELAXED); \
		if (!found_) {                                                          \
			found_ = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name);          \
			__atomic_store_n(&next_, found_, __ATOMIC_RELAXED);             \
		}                                                                       \
		found_;                                                                 \
	})

#endif
