/* SPDX-License-Identifier: BSD-3-Clause */
/* libc's own function of a name that the preload takes. */
#ifndef DAXFUSE_DAXMAP_NEXT_H
#define DAXFUSE_DAXMAP_NEXT_H

#include <dlfcn.h>
#include <stdatomic.h>

/* The functions of the preload are seen by the program, all else is not. */
#define EXPORTED __attribute__((visibility("default")))

/* Looked up when first called: a program may call before constructors have run. */
#define NEXT(name)                                                                               \
	({                                                                                       \
		static _Atomic(__typeof__(&(name))) next_;                                       \
		__typeof__(&(name)) found_ = atomic_load_explicit(&next_, memory_order_relaxed); \
		if (!found_) {                                                                   \
			found_ = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name);                   \
			atomic_store_explicit(&next_, found_, memory_order_relaxed);             \
		}                                                                                \
		found_;                                                                          \
	})

#endif
