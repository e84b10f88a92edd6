/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Metrics in the text format of Prometheus. All samples of a family stand together, so families
 * are the outer loop and mounts the inner one. Each sample carries the mount's place and its pool's
 * UUID.
 */
#include "metrics.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/ioctl.h"
#include "daxfuse/keeper/kernel.h"
#include "daxfuse/volumes/volumes.h"
#include "ask.h"
#include "report.h"

/* A family whose value is one number of a mount's status. */
struct number {
	const char *name, *help;
	const char *of, *key; /* of: the object in it; NULL: itself */
};

static const struct number gauges[] = {
	{ "daxfuse_size_bytes", "Size of the pool.", NULL, "size" },
	{ "daxfuse_free_bytes", "Free space.", "space", "free" },
	{ "daxfuse_units", "2 MiB units of the pool that files can have.", "space", "units" },
	{ "daxfuse_free_units", "Whole units that are free.", "space", "free_units" },
	{ "daxfuse_split_units", "Units that are split into 4 KiB blocks.", "space",
	  "split_units" },
	{ "daxfuse_free_blocks", "Free 4 KiB blocks in split units.", "space",
	  "free_blocks_in_split_units" },
	{ "daxfuse_bad_blocks", "4 KiB blocks that have failed.", "space", "bad_blocks" },
	{ "daxfuse_inodes", "Inodes in use.", "space", "inodes" },
	{ "daxfuse_inodes_limit", "Inodes that the pool can have.", "space", "inodes_max" },
	{ "daxfuse_mapping_programs", "Programs that map files directly.", "mappings", "programs" },
	{ "daxfuse_mapped_files", "Files that are mapped directly.", "mappings", "files" },
	{ "daxfuse_mapped_dirty_bytes", "Mapped directly, stored to and not flushed since.",
	  "mappings", "dirty" },
	{ "daxfuse_quarantined_bytes", "Freed, but mapped still.", "mappings", "quarantined" },
	{ "daxfuse_recovered_journal_records", "Journal records that the last mount has replayed.",
	  "recovery", "journal_records" },
	{ "daxfuse_recovered_orphans", "Files without a name that the last mount has freed.",
	  "recovery", "orphans" },
};

static const struct number counters[] = {
	{ "daxfuse_starts_total", "Serving processes of this mount so far.", "mount", "starts" },
	{ "daxfuse_deaths_total", "Serving processes that ended unasked.", "mount", "deaths" },
	{ "daxfuse_transactions_total", "Transactions committed.", "counters", "transactions" },
	{ "daxfuse_transaction_bytes_total", "Bytes logged by transactions.", "counters",
	  "transaction_bytes" },
	{ "daxfuse_units_promoted_total", "Units that blocks were gathered into.", "counters",
	  "units_promoted" },
	{ "daxfuse_units_trimmed_total", "Units given back for blocks.", "counters",
	  "units_trimmed" },
	{ "daxfuse_poison_met_total", "Accesses that met poisoned memory.", "counters",
	  "poison_met" },
};

/* A family whose samples differ in one label: the keys of an object in a status. */
struct labelled {
	const char *name, *type, *help, *label;
	const char *prefix; /* of the keys; the rest is the label's value */
	struct {
		const char *key, *value;
	} keys[4]; /* or these, if there is no prefix */
};

static const struct labelled fallbacks = {
	"daxfuse_fallbacks_total", "counter", "Faults that got small pages, by reason.", "reason",
	.prefix = "fallback_",
};
static const struct labelled faults = {
	"daxfuse_faults_total",
	"counter",
	"Faults of direct mappings, by what they got.",
	"kind",
	.keys = { { "huge", "huge" }, { "page", "page" }, { "zero", "zero" } },
};
static const struct labelled refused = {
	"daxfuse_refused_mappings_total",
	"counter",
	"Requests for direct mappings refused, by reason.",
	"reason",
	.keys = { { "mode", "mode" }, { "cached", "cached" } },
};
static const struct labelled mapped = {
	"daxfuse_mapped_bytes",
	"gauge",
	"Mapped directly, by the size of the mapping's entries.",
	"pages",
	.keys = { { "huge", "huge" }, { "pages", "small" }, { "zeroes", "zeroes" } },
};

/* ---- samples ------------------------------------------------------------------------ */

static struct json_object *find(struct json_object *mount, const char *of)
{
	return of ? json_object_object_get(mount, of) : mount;
}

static const char *text_of(struct json_object *object, const char *key)
{
	const char *text = json_object_get_string(json_object_object_get(object, key));

	return text ? text : "";
}

static void print_label(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", out);
		else if (*value == '"' || *value == '\\')
			fprintf(out, "\\%c", *value);
		else
			fputc(*value, out);
	}
	fputc('"', out);
}

static void print_family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Up to where a label may follow. */
static void begin_sample(FILE *out, const char *name, struct json_object *mount)
{
	fprintf(out, "%s{", name);
	print_label(out, "mountpoint", text_of(mount, "mountpoint"));
	fputc(',', out);
	print_label(out, "uuid", text_of(mount, "uuid"));
}

static void add_label(FILE *out, const char *name, const char *value)
{
	fputc(',', out);
	print_label(out, name, value);
}

static void end_sample(FILE *out, uint64_t value)
{
	fprintf(out, "} %" PRIu64 "\n", value);
}

static void end_real_sample(FILE *out, double value)
{
	fprintf(out, "} %.9g\n", value);
}

static bool responds(struct json_object *mount)
{
	return json_object_get_boolean(json_object_object_get(mount, "responding"));
}

/* ---- of the status ------------------------------------------------------------------- */

static void print_number(FILE *out, struct json_object *mounts, const struct number *number,
			 const char *type)
{
	print_family(out, number->name, type, number->help);
	for (size_t i = 0; i < json_object_array_length(mounts); i++) {
		struct json_object *mount = json_object_array_get_idx(mounts, i);
		struct json_object *of = responds(mount) ? find(mount, number->of) : NULL;

		if (!of)
			continue;
		begin_sample(out, number->name, mount);
		end_sample(out, json_object_get_uint64(json_object_object_get(of, number->key)));
	}
}

static void print_up(FILE *out, struct json_object *mounts)
{
	print_family(out, "daxfuse_up", "gauge", "Whether the mount's daemon answers.");
	for (size_t i = 0; i < json_object_array_length(mounts); i++) {
		struct json_object *mount = json_object_array_get_idx(mounts, i);

		begin_sample(out, "daxfuse_up", mount);
		end_sample(out, responds(mount));
	}
}

static void print_info(FILE *out, struct json_object *mounts)
{
	static const char *const of_pool[] = { "device", "label", "mode", "durability" };
	static const char *const of_mount[] = { "version", "libfuse", "transport", "dax",
						"keeper" };

	print_family(out, "daxfuse_info", "gauge", "What does not change.");
	for (size_t i = 0; i < json_object_array_length(mounts); i++) {
		struct json_object *mount = json_object_array_get_idx(mounts, i);
		struct json_object *way = json_object_object_get(mount, "mount");

		if (!responds(mount))
			continue;
		begin_sample(out, "daxfuse_info", mount);
		for (size_t k = 0; k < ARRAY_SIZE(of_pool); k++)
			add_label(out, of_pool[k], text_of(mount, of_pool[k]));
		for (size_t k = 0; k < ARRAY_SIZE(of_mount); k++)
			add_label(out, of_mount[k], text_of(way, of_mount[k]));
		end_sample(out, 1);
	}
}

/* How much of the free space is in no whole unit: 0 is none of it. */
static void print_fragmentation(FILE *out, struct json_object *mounts)
{
	print_family(out, "daxfuse_fragmentation_ratio", "gauge",
		     "Free space in split units, of all that is free.");
	for (size_t i = 0; i < json_object_array_length(mounts); i++) {
		struct json_object *mount = json_object_array_get_idx(mounts, i);
		struct json_object *space = json_object_object_get(mount, "space");
		double all = json_object_get_double(json_object_object_get(space, "free"));
		double blocks = json_object_get_double(
			json_object_object_get(space, "free_blocks_in_split_units"));

		if (!responds(mount))
			continue;
		begin_sample(out, "daxfuse_fragmentation_ratio", mount);
		end_real_sample(out, all > 0 ? blocks * 4096 / all : 0);
	}
}

static void print_labelled_sample(FILE *out, struct json_object *mount,
				  const struct labelled *family, const char *label,
				  struct json_object *value)
{
	begin_sample(out, family->name, mount);
	add_label(out, family->label, label);
	end_sample(out, json_object_get_uint64(value));
}

static void print_labelled_samples(FILE *out, struct json_object *mount, struct json_object *of,
				   const struct labelled *family)
{
	size_t length = family->prefix ? strlen(family->prefix) : 0;

	for (size_t k = 0; !length && family->keys[k].key; k++)
		print_labelled_sample(out, mount, family, family->keys[k].value,
				      json_object_object_get(of, family->keys[k].key));
	if (!length)
		return;
	json_object_object_foreach(of, key, value) {
		if (!strncmp(key, family->prefix, length))
			print_labelled_sample(out, mount, family, key + length, value);
	}
}

/* of: an object in the status's "mappings"; NULL: that itself. */
static void print_labelled(FILE *out, struct json_object *mounts, const struct labelled *family,
			   const char *of)
{
	print_family(out, family->name, family->type, family->help);
	for (size_t i = 0; i < json_object_array_length(mounts); i++) {
		struct json_object *mount = json_object_array_get_idx(mounts, i);
		struct json_object *mappings = json_object_object_get(mount, "mappings");

		if (responds(mount) && mappings)
			print_labelled_samples(out, mount, find(mappings, of), family);
	}
}

/* ---- of requests ---------------------------------------------------------------------- */

static const char *operation_name(unsigned opcode)
{
	static const char *const names[] = {
		[FUSE_LOOKUP] = "lookup",
		[FUSE_GETATTR] = "getattr",
		[FUSE_SETATTR] = "setattr",
		[FUSE_READLINK] = "readlink",
		[FUSE_SYMLINK] = "symlink",
		[FUSE_MKNOD] = "mknod",
		[FUSE_MKDIR] = "mkdir",
		[FUSE_UNLINK] = "unlink",
		[FUSE_RMDIR] = "rmdir",
		[FUSE_RENAME] = "rename",
		[FUSE_LINK] = "link",
		[FUSE_OPEN] = "open",
		[FUSE_READ] = "read",
		[FUSE_WRITE] = "write",
		[FUSE_STATFS] = "statfs",
		[FUSE_RELEASE] = "release",
		[FUSE_FSYNC] = "fsync",
		[FUSE_SETXATTR] = "setxattr",
		[FUSE_GETXATTR] = "getxattr",
		[FUSE_LISTXATTR] = "listxattr",
		[FUSE_REMOVEXATTR] = "removexattr",
		[FUSE_OPENDIR] = "opendir",
		[FUSE_READDIR] = "readdir",
		[FUSE_RELEASEDIR] = "releasedir",
		[FUSE_FSYNCDIR] = "fsyncdir",
		[FUSE_CREATE] = "create",
		[FUSE_IOCTL] = "ioctl",
		[FUSE_FALLOCATE] = "fallocate",
		[FUSE_READDIRPLUS] = "readdirplus",
		[FUSE_RENAME2] = "rename2",
		[FUSE_LSEEK] = "lseek",
		[FUSE_COPY_FILE_RANGE] = "copy_file_range",
		[KERNEL_COPY_FILE_RANGE_64] = "copy_file_range_64",
	};

	return opcode < ARRAY_SIZE(names) && names[opcode] ? names[opcode] : NULL;
}

static uint64_t count_all(const struct dxf_ioc_request_kind *kind)
{
	uint64_t sum = 0;

	for (unsigned b = 0; b < DXF_IOC_REQUEST_BUCKETS; b++)
		sum += kind->bucket[b];
	return sum;
}

static void begin_request_sample(FILE *out, struct json_object *mount, const char *suffix,
				 const char *operation)
{
	char name[64];

	snprintf(name, sizeof(name), "daxfuse_request_duration_seconds%s", suffix);
	begin_sample(out, name, mount);
	add_label(out, "operation", operation);
}

/* Buckets of a histogram are sums: each has all that took less than its bound. */
static void print_histogram(FILE *out, struct json_object *mount, const char *operation,
			    const struct dxf_ioc_request_kind *kind)
{
	uint64_t sum = 0;
	double bound = 4096e-9;
	char text[32];

	for (unsigned b = 0; b < DXF_IOC_REQUEST_BUCKETS; b++, bound *= 4) {
		bool last = b == DXF_IOC_REQUEST_BUCKETS - 1;

		sum += kind->bucket[b];
		snprintf(text, sizeof(text), last ? "+Inf" : "%.9g", bound);
		begin_request_sample(out, mount, "_bucket", operation);
		add_label(out, "le", text);
		end_sample(out, sum);
	}
	begin_request_sample(out, mount, "_sum", operation);
	end_real_sample(out, (double)kind->ns / 1e9);
	begin_request_sample(out, mount, "_count", operation);
	end_sample(out, sum);
}

/* -1: it says nothing, or there is none ("none": the pool is for guests only). */
static int open_mount(struct json_object *mount)
{
	const char *mountpoint = text_of(mount, "mountpoint");

	return responds(mount) && *mountpoint == '/'
		       ? open_past_cache(mountpoint, O_RDONLY | O_DIRECTORY)
		       : -1;
}

static void print_requests_of(FILE *out, struct json_object *mount)
{
	CLEANUP_FD int fd = open_mount(mount);
	CLEANUP_FREE struct dxf_ioc_requests *requests = malloc(sizeof(*requests));

	if (fd < 0 || !requests || ioctl(fd, DXF_IOC_REQUESTS, requests) < 0)
		return;
	for (unsigned i = 0; i < DXF_IOC_REQUEST_KINDS; i++) {
		if (operation_name(i) && count_all(&requests->kind[i]))
			print_histogram(out, mount, operation_name(i), &requests->kind[i]);
	}
}

static void print_requests(FILE *out, struct json_object *mounts)
{
	print_family(out, "daxfuse_request_duration_seconds", "histogram",
		     "Requests of the kernel that the serving process has served.");
	for (size_t i = 0; i < json_object_array_length(mounts); i++)
		print_requests_of(out, json_object_array_get_idx(mounts, i));
}

/* ---- of projects ---------------------------------------------------------------------- */

/* Names by project: {"7": "web"}; volumes are made by administrators, and only these see all. */
static struct json_object *name_volumes(const char *mountpoint)
{
	struct json_object *names = json_object_new_object(), *list = NULL;
	struct volume_pool *pool;
	struct volume_error error;

	if (volumes_pool_open(mountpoint, &pool, &error))
		return names;
	if (volumes_list(pool, &list, &error))
		list = NULL;
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *volume = json_object_array_get_idx(list, i);

		json_object_object_add(names, text_of(volume, "project"),
				       json_object_new_string(text_of(volume, "name")));
	}
	json_object_put(list);
	volumes_pool_close(pool);
	return names;
}

static void print_project(FILE *out, struct json_object *mount, const char *name,
			  const char *project, const char *volume, uint64_t value)
{
	begin_sample(out, name, mount);
	add_label(out, "project", project);
	add_label(out, "volume", volume);
	end_sample(out, value);
}

struct project_family {
	const char *name, *help;
	size_t value; /* of which member of struct dxf_ioc_quota */
};

static const struct project_family project_families[] = {
	{ "daxfuse_project_bytes", "In use by a project.", offsetof(struct dxf_ioc_quota, bytes) },
	{ "daxfuse_project_limit_bytes", "Limit of a project, 0: none.",
	  offsetof(struct dxf_ioc_quota, byte_limit) },
	{ "daxfuse_project_inodes", "Inodes in use by a project.",
	  offsetof(struct dxf_ioc_quota, inodes) },
	{ "daxfuse_project_inodes_limit", "Limit of a project, 0: none.",
	  offsetof(struct dxf_ioc_quota, inode_limit) },
};

static void print_projects_of(FILE *out, struct json_object *mount,
			      const struct project_family *family)
{
	CLEANUP_FD int fd = open_mount(mount);
	CLEANUP_JSON struct json_object *names = NULL;
	struct dxf_ioc_quota quota = { .project = 1 };

	if (fd < 0)
		return;
	names = name_volumes(text_of(mount, "mountpoint"));
	while (ioctl(fd, DXF_IOC_QUOTA_NEXT, &quota) == 0) {
		char project[16];
		uint64_t value;

		snprintf(project, sizeof(project), "%u", quota.project);
		memcpy(&value, (const char *)&quota + family->value, sizeof(value));
		print_project(out, mount, family->name, project, text_of(names, project), value);
		if (quota.project++ == UINT32_MAX)
			break;
	}
}

static void print_projects(FILE *out, struct json_object *mounts)
{
	for (size_t f = 0; f < ARRAY_SIZE(project_families); f++) {
		print_family(out, project_families[f].name, "gauge", project_families[f].help);
		for (size_t i = 0; i < json_object_array_length(mounts); i++)
			print_projects_of(out, json_object_array_get_idx(mounts, i),
					  &project_families[f]);
	}
}

void metrics_print(FILE *out, struct json_object *mounts)
{
	print_up(out, mounts);
	print_info(out, mounts);
	for (size_t i = 0; i < ARRAY_SIZE(gauges); i++)
		print_number(out, mounts, &gauges[i], "gauge");
	print_fragmentation(out, mounts);
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		print_number(out, mounts, &counters[i], "counter");
	print_labelled(out, mounts, &mapped, NULL);
	print_labelled(out, mounts, &refused, "refused");
	print_labelled(out, mounts, &faults, "counters");
	print_labelled(out, mounts, &fallbacks, "counters");
	print_requests(out, mounts);
	print_projects(out, mounts);
}
