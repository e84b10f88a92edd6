/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of what can be said of an export. What depends on the mount (whether the directory is
 * there, whether this VMM can have this window) is the daemon's to check when it adds it.
 */
#include "export_words.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/size.h"

/* Its index is its code; the end has no name. NULL: `name` is none of them. */
static const char *const *find_name(const char *const *names, const char *name)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names ? names : NULL;
}

static const char *set_text(char *ret_text, size_t most, const char *value)
{
	for (const char *at = value; *at; at++) {
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			return "has control characters";
	}
	if (!*value)
		return "is empty";
	if (strlen(value) > most)
		return "is too long";
	strcpy(ret_text, value);
	return NULL;
}

static const char *set_socket(struct export_words *words, const char *value)
{
	const char *wrong = set_text(words->call.socket, 107, value);

	return wrong ? "SOCKET is a path of 107 bytes at most, without control characters" : NULL;
}

static const char *set_tag(struct export_words *words, const char *value)
{
	const char *wrong = set_text(words->call.tag, 36, value);

	return wrong ? "TAG has 1 to 36 bytes, without control characters" : NULL;
}

static const char *set_directory(struct export_words *words, const char *value)
{
	words->directory = value;
	return NULL;
}

static const char *set_cache(struct export_words *words, const char *value)
{
	static const char *const names[] = {
		[DXF_EXPORT_CACHE_AUTO] = "auto",
		[DXF_EXPORT_CACHE_NONE] = "none",
		[DXF_EXPORT_CACHE_ALWAYS] = "always",
		NULL,
	};
	const char *const *found = find_name(names, value);

	if (!found)
		return "cache is none, auto or always";
	words->call.cache = (uint32_t)(found - names);
	return NULL;
}

static const char *set_vmm(struct export_words *words, const char *value)
{
	static const char *const names[] = {
		[DXF_EXPORT_QEMU] = "qemu",
		[DXF_EXPORT_CROSVM] = "crosvm",
		[DXF_EXPORT_ALIOTH] = "alioth",
		NULL,
	};
	const char *const *found = find_name(names, value);

	if (!found)
		return "vmm is qemu, crosvm or alioth";
	words->call.vmm = (uint32_t)(found - names);
	return NULL;
}

static const char *set_window(struct export_words *words, const char *value)
{
	uint64_t bytes = 0;

	if (parse_size(value, &bytes) || !bytes || bytes % (2 << 20))
		return "window is a size, as 512M: a multiple of 2M";
	words->call.window = bytes;
	return NULL;
}

static const char *set_read_only(struct export_words *words, const char *value)
{
	(void)value;
	words->call.read_only = 1;
	return NULL;
}

static const struct word {
	const char *name;
	bool takes_value;
	const char *(*set)(struct export_words *words, const char *value);
} table[] = {
	{ "socket", true, set_socket },       { "tag", true, set_tag },
	{ "subdir", true, set_directory },    { "cache", true, set_cache },
	{ "window", true, set_window },       { "vmm", true, set_vmm },
	{ "readonly", false, set_read_only }, { "ro", false, set_read_only },
};

const char *export_words_set(struct export_words *words, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strcmp(table[i].name, name) != 0)
			continue;
		if (table[i].takes_value != (value != NULL))
			return value ? "ro takes no value" : "cache, window and vmm take a value";
		return table[i].set(words, value);
	}
	return "SOCKET:TAG[:DIR] is followed by ro, cache=WHEN, window=SIZE, vmm=NAME";
}

/* Behind the first three, which have places of their own. */
static const char *set_field(struct export_words *words, char *field)
{
	char *name = strsep(&field, "=");

	if (!strcmp(name, "socket") || !strcmp(name, "tag") || !strcmp(name, "subdir"))
		name = "";
	return export_words_set(words, name, field);
}

const char *export_words_parse(char *text, struct export_words *ret_words)
{
	static const char *const places[] = { "socket", "tag", "subdir" };
	struct export_words words = { .call.what = DXF_EXPORT_ADD, .directory = "" };
	const char *wrong = NULL;
	unsigned count = 0;

	for (; !wrong && text; count++) {
		char *field = strsep(&text, ":");

		wrong = count < ARRAY_SIZE(places) ? export_words_set(&words, places[count], field)
						   : set_field(&words, field);
	}
	if (!wrong && words.call.socket[0] != '/')
		wrong = "SOCKET is a path from the root";
	if (!wrong && count < 2)
		wrong = "TAG is missing";
	if (!wrong)
		*ret_words = words;
	return wrong;
}

const char *export_words_advice(const struct dxf_ioc_export *call, int err)
{
	switch (err) {
	case -EPERM:
	case -EACCES:
		return "run as root of the host, or as the mount's owner";
	case -EEXIST:
		return "an export has this socket or tag already: see daxfuse status";
	case -EADDRINUSE:
		return "something lies at the socket's path, or listens there";
	case -ELOOP:
		return "the socket must not lie on the mount itself: try /run";
	case -ENAMETOOLONG:
		return "a socket's path has 107 bytes at most";
	case -ENOENT:
		return call->what == DXF_EXPORT_REMOVE
			       ? "see daxfuse status for what is exported"
			       : "the directory, and the folder of the socket, must be there";
	case -ERANGE:
		return "a window of QEMU or crosvm is a power of two; QEMU takes 512M at most";
	case -EROFS:
		return "QEMU maps all of a window for writing, so neither mount nor export may be "
		       "read-only";
	case -EINVAL:
		return "the directory is below the mount's root: without ..";
	case -ENOTTY:
		return "the running daemon is of an older release: daxfuse restart";
	}
	return "";
}
