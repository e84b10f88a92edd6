/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be said when a volume is made: one table for the parser and for help texts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/size.h"
#include "daxfuse/format.h"
#include "internal.h"

enum { VALUE_MAX = 255 };

static bool take_size(const char *text, struct volume_options *o)
{
	o->has_size = true;
	return !parse_size(text, &o->size);
}

static bool take_inodes(const char *text, struct volume_options *o)
{
	o->has_inodes = true;
	return !parse_size(text, &o->inodes);
}

static bool take_number(const char *text, int base, unsigned long max, uint32_t *ret_number)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, base);
	if (*text < '0' || *text > '9' || *end || errno || number > max)
		return false;
	*ret_number = (uint32_t)number;
	return true;
}

static bool take_uid(const char *text, struct volume_options *o)
{
	return take_number(text, 10, UINT32_MAX - 1, &o->uid);
}

static bool take_gid(const char *text, struct volume_options *o)
{
	return take_number(text, 10, UINT32_MAX - 1, &o->gid);
}

static bool take_mode(const char *text, struct volume_options *o)
{
	return take_number(text, 8, 07777, &o->mode);
}

static bool take_boolean(const char *text, bool *ret_value)
{
	*ret_value = !strcmp(text, "yes") || !strcmp(text, "true") || !strcmp(text, "1");
	return *ret_value || !strcmp(text, "no") || !strcmp(text, "false") || !strcmp(text, "0");
}

static bool take_dax(const char *text, struct volume_options *o)
{
	return take_boolean(text, &o->dax);
}

static bool take_overcommit(const char *text, struct volume_options *o)
{
	return take_boolean(text, &o->overcommit);
}

static bool take_extsize(const char *text, struct volume_options *o)
{
	return !parse_size(text, &o->extsize) && o->extsize % DXF_BLOCK_SIZE == 0 &&
	       o->extsize <= UINT32_MAX;
}

/* Only kept, and shown. */
static bool take_label(const char *text, struct volume_options *o)
{
	return true;
}

static const struct {
	const char *name;
	bool (*take)(const char *text, struct volume_options *o);
	const char *help;
} table[] = {
	{ "size", take_size, "at most so many bytes (K, M, G, T); without it, what the pool has" },
	{ "inodes", take_inodes, "at most so many files and folders" },
	{ "uid", take_uid, "owner of the volume's root, as a number (0)" },
	{ "gid", take_gid, "its group (0)" },
	{ "mode", take_mode, "its mode, in octal (755)" },
	{ "dax", take_dax, "yes: files bypass the page cache (the DAX flag)" },
	{ "extsize", take_extsize, "allocate files in steps of so many bytes" },
	{ "label", take_label, "a text that is kept and shown" },
	{ "overcommit", take_overcommit, "yes: though all sizes together are more than the pool" },
};

const char *volumes_option_help(unsigned i, const char **ret_name)
{
	if (i >= ARRAY_SIZE(table))
		return NULL;
	*ret_name = table[i].name;
	return table[i].help;
}

static errint_t complain_unknown(const char *name, struct volume_error *error)
{
	char known[128] = "";
	size_t at = 0;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "",
				       table[i].name);
	return volumes_fail(error, -EINVAL, "%.64s: not an option of volumes; these are: %s", name,
			    known);
}

static errint_t parse_one(const char *name, struct json_object *value,
			  struct volume_options *options, struct volume_error *error)
{
	const char *text = json_object_get_string(value);

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strcmp(table[i].name, name))
			continue;
		if (json_object_is_type(value, json_type_string) &&
		    strlen(text) == (size_t)json_object_get_string_len(value) &&
		    strlen(text) <= VALUE_MAX && table[i].take(text, options))
			return 0;
		return volumes_fail(error, -EINVAL, "%s=%.64s: not a value for it: %s", name,
				    text ? text : "", table[i].help);
	}
	return complain_unknown(name, error);
}

errint_t volumes_parse_options(struct json_object *object, struct volume_options *ret_options,
			       struct volume_error *error)
{
	struct volume_options options = { .mode = 0755 };
	int err;

	if (object && !json_object_is_type(object, json_type_object))
		return volumes_fail(error, -EINVAL, "options must be an object of strings");
	if (object) {
		json_object_object_foreach(object, name, value) {
			err = parse_one(name, value, &options, error);
			if (err)
				return err;
		}
	}
	*ret_options = options;
	return 0;
}

static bool has_all_of(struct json_object *a, struct json_object *b)
{
	if (!a)
		return true;
	json_object_object_foreach(a, name, value) {
		struct json_object *other = NULL;

		if (!b || !json_object_object_get_ex(b, name, &other) ||
		    !json_object_equal(value, other))
			return false;
	}
	return true;
}

bool volumes_same_options(struct json_object *a, struct json_object *b)
{
	return has_all_of(a, b) && has_all_of(b, a);
}
