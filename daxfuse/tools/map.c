/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxfuse map: where the bytes of a file lie on the device, and how programs have
 * them mapped. The daemon tells the extents in portions; each portion says where the
 * next one starts.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/format.h"
#include "daxfuse/ioctl.h"
#include "ask.h"
#include "command.h"
#include "report.h"

static const struct command_option options[] = {
	{ 'u', "human", NULL, "print for people" },
	{ 0 },
};

static const struct command command = {
	.name = "daxfuse map",
	.usage = "FILE",
	.summary = "Show where the bytes of a file lie on the device (JSON, in bytes).",
	.options = options,
	.details =
		"\"mapped\": what programs have mapped directly just now (libdaxmap), and why not huge;\n"
		"\"direct\" in it: whether they may, or what is in the way.\n"
		"\"unit\": the extent consists of whole, aligned 2 MiB units.\n"
		"\"unwritten\": it is allocated and reads as zeroes.",
	.usage_status = 1,
};

struct extents {
	struct dxf_ioc_extent *extent;
	size_t count, room;
	uint64_t file_size;
	struct json_object *mapped; /* what DXF_IOC_MAPPED says */
};

static errint_t append(struct extents *extents, const struct dxf_ioc_extents *portion)
{
	if (portion->count > DXF_IOC_EXTENT_COUNT)
		return -EPROTO;
	while (extents->count + portion->count > extents->room) {
		size_t room = extents->room ? 2 * extents->room : 2 * DXF_IOC_EXTENT_COUNT;
		void *more = reallocarray(extents->extent, room, sizeof(*extents->extent));

		if (!more)
			return -ENOMEM;
		extents->extent = more;
		extents->room = room;
	}
	for (size_t i = 0; i < portion->count; i++)
		extents->extent[extents->count++] = portion->extent[i];
	return 0;
}

static errint_t read_mapped(int fd, struct extents *extents)
{
	CLEANUP_FREE struct dxf_ioc_mapped *mapped = calloc(1, sizeof(*mapped));

	if (!mapped)
		return -ENOMEM;
	if (ioctl(fd, DXF_IOC_MAPPED, mapped) < 0)
		return -errno;
	mapped->json[sizeof(mapped->json) - 1] = '\0';
	extents->mapped = json_tokener_parse(mapped->json);
	return extents->mapped ? 0 : -EPROTO;
}

static errint_t read_extents(const char *path, struct extents *extents)
{
	CLEANUP_FREE struct dxf_ioc_extents *portion = calloc(1, sizeof(*portion));
	CLEANUP_FD int fd = open_past_cache(path, O_RDONLY | O_NONBLOCK);
	uint64_t start = 0;
	struct stat st;
	int err;

	if (fd < 0 || !portion || fstat(fd, &st) < 0)
		return -errno;
	extents->file_size = (uint64_t)st.st_size;
	do {
		portion->start = start;
		if (ioctl(fd, DXF_IOC_EXTENTS, portion) < 0)
			return -errno;
		if (portion->start <= start)
			return -EPROTO;
		start = portion->start;
		err = append(extents, portion);
	} while (!err && start != UINT64_MAX);
	return err ? err : read_mapped(fd, extents);
}

static void print_json(const struct extents *extents)
{
	CLEANUP_JSON struct json_object *object = json_object_new_object();
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < extents->count; i++) {
		const struct dxf_ioc_extent *extent = &extents->extent[i];
		struct json_object *item = json_object_new_object();

		json_object_object_add(item, "file_offset",
				       json_object_new_uint64(extent->file_offset));
		json_object_object_add(item, "device_offset",
				       json_object_new_uint64(extent->device_offset));
		json_object_object_add(item, "length", json_object_new_uint64(extent->length));
		json_object_object_add(item, "unit",
				       json_object_new_boolean(extent->flags & DXF_EXTENT_UNIT));
		json_object_object_add(item, "unwritten",
				       json_object_new_boolean(extent->flags &
							       DXF_EXTENT_UNWRITTEN));
		json_object_array_add(list, item);
	}
	json_object_object_add(object, "extents", list);
	json_object_object_add(object, "mapped", json_object_get(extents->mapped));
	report_json(object);
}

#define DRAWING_WIDTH 64
#define DRAWING_LINES 16

/* What is known of one stretch of the file, for one character. */
struct cell {
	uint64_t unit, pieces;
};

static void fill_cells(const struct extents *extents, struct cell *cells, uint64_t cell_size)
{
	for (size_t i = 0; i < extents->count; i++) {
		const struct dxf_ioc_extent *extent = &extents->extent[i];
		uint64_t at = extent->file_offset;
		uint64_t end = MIN(at + extent->length, extents->file_size);

		while (at < end) {
			struct cell *cell = &cells[at / cell_size];
			uint64_t next = MIN(end, (at / cell_size + 1) * cell_size);

			if (extent->flags & DXF_EXTENT_UNIT)
				cell->unit += next - at;
			else
				cell->pieces += next - at;
			at = next;
		}
	}
}

static const char *draw_cell(const struct cell *cell)
{
	if (!cell->unit && !cell->pieces)
		return "·";
	return cell->unit >= cell->pieces ? "█" : "▒";
}

/* One character for each unit, or for several units of a large file. */
static void draw(const struct extents *extents)
{
	uint64_t cells_max = DRAWING_WIDTH * DRAWING_LINES, count;
	uint64_t cell_size = DXF_UNIT_SIZE;
	CLEANUP_FREE struct cell *cells = NULL;
	char size[HUMAN_SIZE];

	while (div_round_up(extents->file_size, cell_size) > cells_max)
		cell_size *= 2;
	count = div_round_up(extents->file_size, cell_size);
	cells = calloc(count + 1, sizeof(*cells));
	if (!cells || !count)
		return;
	fill_cells(extents, cells, cell_size);
	printf("\n  █ whole 2 MiB units  ▒ 4 KiB blocks  · hole; one character is %s\n",
	       human_size(cell_size, size, sizeof(size)));
	for (uint64_t i = 0; i < count; i++) {
		if (i % DRAWING_WIDTH == 0)
			printf("%s  ", i ? "\n" : "");
		printf("%s", draw_cell(&cells[i]));
	}
	printf("\n");
}

static uint64_t get(struct json_object *object, const char *key)
{
	return json_object_get_uint64(json_object_object_get(object, key));
}

/* Whether programs may map it directly; if not, what to do. */
static void print_direct(struct json_object *mapped)
{
	static const struct {
		const char *word, *text;
	} reasons[] = {
		{ "never", "the mount has dax=never; mount it with dax=auto" },
		{ "flag",
		  "the mount has dax=inode, and the file no DAX flag; set it (chattr +x) while the file "
		  "is open nowhere, or mount with dax=auto" },
		{ "kernel",
		  "before Linux 6.6 the file needs the DAX flag; set it (chattr +x) while the file is "
		  "open nowhere, or mount with dax=always" },
		{ "cached",
		  "others read it through the page cache; it can be mapped when they have closed it" },
	};
	const char *word = json_object_get_string(json_object_object_get(mapped, "direct"));

	for (size_t i = 0; word && i < ARRAY_SIZE(reasons); i++) {
		if (!strcmp(word, reasons[i].word))
			printf("\nnot mapped directly: %s\n", reasons[i].text);
	}
}

/* A line for what is mapped, and one for each reason why it is not huge. */
static void print_mapped(struct json_object *mapped)
{
	struct json_object *counters = json_object_object_get(mapped, "counters");
	char a[HUMAN_SIZE], b[HUMAN_SIZE], c[HUMAN_SIZE];

	if (!get(mapped, "huge") && !get(mapped, "pages") && !get(mapped, "zeroes"))
		return;
	printf("\nmapped by programs: %s huge, %s in 4 KiB pages, %s of zeroes\n",
	       human_size(get(mapped, "huge"), a, sizeof(a)),
	       human_size(get(mapped, "pages"), b, sizeof(b)),
	       human_size(get(mapped, "zeroes"), c, sizeof(c)));
	json_object_object_foreach(counters, key, value) {
		if (!strncmp(key, "fallback_", 9) && json_object_get_uint64(value))
			printf("  not huge: %llu times %s\n",
			       (unsigned long long)json_object_get_uint64(value), key + 9);
	}
}

static void print_human(const char *path, const struct extents *extents)
{
	uint64_t units = 0, pieces = 0;
	char a[HUMAN_SIZE], b[HUMAN_SIZE], c[HUMAN_SIZE];

	for (size_t i = 0; i < extents->count; i++) {
		if (extents->extent[i].flags & DXF_EXTENT_UNIT)
			units += extents->extent[i].length;
		else
			pieces += extents->extent[i].length;
	}
	printf("%s: %s, %zu extent%s: %s in whole 2 MiB units, %s in 4 KiB blocks\n", path,
	       human_size(extents->file_size, a, sizeof(a)), extents->count,
	       extents->count == 1 ? "" : "s", human_size(units, b, sizeof(b)),
	       human_size(pieces, c, sizeof(c)));
	if (!extents->count) {
		if (extents->file_size)
			printf("no extents: the data lies in the inode, or it is all hole\n");
		return;
	}
	printf("%18s %18s %12s\n", "FILE OFFSET", "DEVICE OFFSET", "LENGTH");
	for (size_t i = 0; i < extents->count; i++) {
		const struct dxf_ioc_extent *extent = &extents->extent[i];

		printf("%#18llx %#18llx %12s  %s%s\n", extent->file_offset, extent->device_offset,
		       human_size(extent->length, a, sizeof(a)),
		       extent->flags & DXF_EXTENT_UNIT ? "unit" : "blocks",
		       extent->flags & DXF_EXTENT_UNWRITTEN ? ", unwritten" : "");
	}
	draw(extents);
}

int map_main(int argc, char **argv)
{
	struct extents extents = { 0 };
	bool human = false;
	int err;

	while (command_next(&command, argc, argv) == 'u')
		human = true;
	command_operands(&command, argc, 1, 1);
	err = read_extents(argv[optind], &extents);
	if (err)
		report_failure("daxfuse", argv[optind], err, "cannot be mapped",
			       err == -ENOTTY || err == -EINVAL
				       ? "name a regular file on a mount of daxfuse"
				       : "");
	else if (human) {
		print_human(argv[optind], &extents);
		print_mapped(extents.mapped);
		print_direct(extents.mapped);
	} else
		print_json(&extents);
	json_object_put(extents.mapped);
	free(extents.extent);
	return err ? 1 : 0;
}
