/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/inflight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Smaller data is taken line by line. */
#define GROUP_MIN 512u

static void *grow(void *array, size_t *room, size_t need, size_t size)
{
	if (need <= *room)
		return array;
	*room = need * 2;
	array = realloc(array, *room * size);
	if (!array)
		abort();
	return array;
}

int inflight_create(uint64_t pool_size, struct inflight **ret_inflight)
{
	struct inflight *inflight = calloc(1, sizeof(*inflight));

	if (!inflight)
		return -ENOMEM;
	inflight->line_count = pool_size / LINE_SIZE;
	inflight->slot = calloc(inflight->line_count, sizeof(*inflight->slot));
	if (!inflight->slot) {
		free(inflight);
		return -ENOMEM;
	}
	*ret_inflight = inflight;
	return 0;
}

static void line_remove(struct inflight *inflight, size_t index)
{
	struct inflight_line *line = &inflight->line[index];
	size_t last = --inflight->lines;

	free(line->item);
	inflight->slot[line->line] = 0;
	if (index == last)
		return;
	*line = inflight->line[last];
	inflight->slot[line->line] = (uint32_t)index + 1;
}

static void group_remove(struct inflight *inflight, size_t index)
{
	free(inflight->group[index].bytes);
	inflight->groups--;
	memmove(&inflight->group[index], &inflight->group[index + 1],
		(inflight->groups - index) * sizeof(*inflight->group));
}

void inflight_clear(struct inflight *inflight)
{
	while (inflight->lines)
		line_remove(inflight, inflight->lines - 1);
	while (inflight->groups)
		group_remove(inflight, inflight->groups - 1);
}

void inflight_destroy(struct inflight *inflight)
{
	if (!inflight)
		return;
	inflight_clear(inflight);
	free(inflight->line);
	free(inflight->group);
	free(inflight->slot);
	free(inflight);
}

static struct inflight_item *line_append(struct inflight *inflight, uint64_t number)
{
	struct inflight_line *line;

	if (!inflight->slot[number]) {
		inflight->line = grow(inflight->line, &inflight->line_room, inflight->lines + 1,
				      sizeof(*inflight->line));
		inflight->line[inflight->lines++] = (struct inflight_line){ .line = number };
		inflight->slot[number] = (uint32_t)inflight->lines;
	}
	line = &inflight->line[inflight->slot[number] - 1];
	if (line->count == line->room) {
		line->room = line->room ? 2 * line->room : 4;
		line->item = realloc(line->item, line->room * sizeof(*line->item));
		if (!line->item)
			abort();
	}
	return memset(&line->item[line->count++], 0, sizeof(*line->item));
}

/* Queue a store, line by line. bytes NULL: zeroes. */
static void add_items(struct inflight *inflight, uint64_t offset, uint64_t length,
		      const uint8_t *bytes, uint16_t thread, bool nt)
{
	while (length) {
		unsigned at = offset % LINE_SIZE;
		unsigned part = LINE_SIZE - at < length ? LINE_SIZE - at : (unsigned)length;
		struct inflight_item *item = line_append(inflight, offset / LINE_SIZE);

		item->mask = (part == LINE_SIZE ? ~UINT64_C(0) : (UINT64_C(1) << part) - 1) << at;
		if (bytes) {
			memcpy(item->bytes + at, bytes, part);
			bytes += part;
		}
		item->thread = thread;
		item->waits = nt;
		offset += part;
		length -= part;
	}
}

/* A group if nothing older is in flight in its lines, whose order would be lost. */
static bool is_group(const struct inflight *inflight, const struct log_event *event)
{
	uint64_t line = event->offset / LINE_SIZE;
	uint64_t last = (event->offset + event->length - 1) / LINE_SIZE;

	if (event->offset < inflight->data_start || event->length < GROUP_MIN ||
	    event->offset + event->length > inflight->data_end)
		return false;
	for (; line <= last; line++)
		if (inflight->slot[line])
			return false;
	return true;
}

static void add_group(struct inflight *inflight, const struct log_event *event,
		      const uint8_t *bytes)
{
	struct inflight_group *group;

	inflight->group = grow(inflight->group, &inflight->group_room, inflight->groups + 1,
			       sizeof(*inflight->group));
	group = &inflight->group[inflight->groups++];
	*group = (struct inflight_group){ .offset = event->offset,
					  .length = event->length,
					  .thread = event->thread };
	if (!bytes)
		return;
	group->bytes = malloc(event->length);
	if (!group->bytes)
		abort();
	memcpy(group->bytes, bytes, event->length);
}

static void flush(struct inflight *inflight, const struct log_event *event)
{
	uint64_t number = event->offset / LINE_SIZE;
	uint64_t last = (event->offset + event->length - 1) / LINE_SIZE;

	for (; number <= last; number++) {
		struct inflight_line *line;
		unsigned i;

		if (!inflight->slot[number])
			continue;
		line = &inflight->line[inflight->slot[number] - 1];
		for (i = 0; i < line->count; i++) {
			if (line->item[i].waits)
				continue;
			line->item[i].waits = true;
			line->item[i].thread = event->thread;
		}
	}
}

static void write_masked(struct image *image, uint64_t line, uint64_t mask, const uint8_t *bytes)
{
	uint8_t now[LINE_SIZE];
	unsigned i;

	memcpy(now, image_at(image, line * LINE_SIZE), LINE_SIZE);
	for (i = 0; i < LINE_SIZE; i++)
		if (mask >> i & 1)
			now[i] = bytes[i];
	image_write(image, line * LINE_SIZE, now, LINE_SIZE);
}

static void make_durable(struct inflight *inflight, uint64_t line, uint64_t mask,
			 const uint8_t *bytes)
{
	unsigned i;

	for (i = 0; i < 2; i++)
		if (inflight->durable[i])
			write_masked(inflight->durable[i], line, mask, bytes);
}

/* Whether the line is empty now. */
static bool fence_line(struct inflight *inflight, struct inflight_line *line, uint16_t thread)
{
	unsigned i, j, kept = 0;

	for (i = 0; i < line->count; i++) {
		struct inflight_item item = line->item[i];

		if (!item.waits || item.thread != thread) {
			line->item[kept++] = item;
			continue;
		}
		/* What stays in the queue is older: it cannot come back over this. */
		for (j = 0; j < kept; j++)
			line->item[j].mask &= ~item.mask;
		make_durable(inflight, line->line, item.mask, item.bytes);
	}
	line->count = kept;
	return kept == 0;
}

static void fence_group(struct inflight *inflight, const struct inflight_group *group)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		if (!inflight->durable[i])
			continue;
		if (group->bytes)
			image_write(inflight->durable[i], group->offset, group->bytes,
				    group->length);
		else
			image_zero(inflight->durable[i], group->offset, group->length);
	}
}

static void fence(struct inflight *inflight, uint16_t thread)
{
	size_t i = 0;

	while (i < inflight->groups) {
		if (inflight->group[i].thread != thread) {
			i++;
			continue;
		}
		fence_group(inflight, &inflight->group[i]);
		group_remove(inflight, i);
	}
	for (i = inflight->lines; i > 0; i--)
		if (fence_line(inflight, &inflight->line[i - 1], thread))
			line_remove(inflight, i - 1);
}

void inflight_event(struct inflight *inflight, const struct log *log, const struct log_event *event)
{
	const uint8_t *bytes = NULL;

	if (event->kind == LOG_STORE || event->kind == LOG_NT)
		bytes = log->bytes + event->bytes;
	switch (event->kind) {
	case LOG_NT:
	case LOG_ZERO_NT:
		if (is_group(inflight, event))
			add_group(inflight, event, bytes);
		else
			add_items(inflight, event->offset, event->length, bytes, event->thread,
				  true);
		break;
	case LOG_STORE:
	case LOG_ZERO:
		add_items(inflight, event->offset, event->length, bytes, event->thread, false);
		break;
	case LOG_FLUSH:
		flush(inflight, event);
		break;
	case LOG_FENCE:
		fence(inflight, event->thread);
		break;
	}
}

unsigned inflight_depth(const struct inflight *inflight, size_t unit)
{
	return unit < inflight->groups ? 1 : inflight->line[unit - inflight->groups].count;
}

static bool line_matters(const struct inflight *inflight, const struct inflight_line *line)
{
	const uint8_t *now = image_at(inflight->durable[0], line->line * LINE_SIZE);
	unsigned i, j;

	for (i = 0; i < line->count; i++)
		for (j = 0; j < LINE_SIZE; j++)
			if (line->item[i].mask >> j & 1 && line->item[i].bytes[j] != now[j])
				return true;
	return false;
}

bool inflight_matters(const struct inflight *inflight, size_t unit)
{
	const struct inflight_group *group = &inflight->group[unit];
	const uint8_t *now;

	if (!inflight->durable[0])
		return true;
	if (unit >= inflight->groups)
		return line_matters(inflight, &inflight->line[unit - inflight->groups]);
	now = image_at(inflight->durable[0], group->offset);
	if (group->bytes)
		return memcmp(now, group->bytes, group->length) != 0;
	return now[0] || memcmp(now, now + 1, group->length - 1) != 0;
}

static void write_group(const struct inflight_group *group, uint64_t from, uint64_t to,
			struct image *image)
{
	if (from >= to)
		return;
	if (group->bytes)
		image_write(image, group->offset + from, group->bytes + from, to - from);
	else
		image_zero(image, group->offset + from, to - from);
}

static void apply_random_half(const struct inflight_group *group, unsigned seed,
			      struct image *image)
{
	uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	uint64_t at, end;

	for (at = 0; at < group->length; at = end) {
		end = at + LINE_SIZE - (group->offset + at) % LINE_SIZE;
		end = end < group->length ? end : group->length;
		random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		if (random >> 63)
			write_group(group, at, end, image);
	}
}

static void apply_group(const struct inflight_group *group, unsigned torn, struct image *image)
{
	uint64_t length = group->length;
	uint64_t middle = (length / 2 + group->offset) / LINE_SIZE * LINE_SIZE - group->offset;

	switch (torn) {
	case TORN_NOT:
		write_group(group, 0, length, image);
		break;
	case TORN_FIRST:
		write_group(group, LINE_SIZE - group->offset % LINE_SIZE, length, image);
		break;
	case TORN_MIDDLE:
		write_group(group, 0, middle, image);
		write_group(group, middle + LINE_SIZE, length, image);
		break;
	case TORN_LAST:
		write_group(group, 0, length - ((group->offset + length - 1) % LINE_SIZE + 1),
			    image);
		break;
	case TORN_HALF:
		write_group(group, 0, middle, image);
		break;
	case TORN_WORD:
		write_group(group, 0, middle + 8, image);
		write_group(group, middle + 16, length, image);
		break;
	default:
		apply_random_half(group, torn - TORN_RANDOM, image);
		break;
	}
}

/* The bytes of a line that a torn item reaches. */
static uint64_t torn_mask(unsigned torn)
{
	uint64_t prefix;

	if (torn == TORN_NOT)
		return ~UINT64_C(0);
	if (torn < TORN_SUFFIX)
		return (UINT64_C(1) << 8 * (torn - TORN_PREFIX + 1)) - 1;
	prefix = (UINT64_C(1) << 8 * (torn - TORN_SUFFIX + 1)) - 1;
	return ~prefix;
}

static void apply_line(const struct inflight_line *line, inflight_choice choice,
		       struct image *image)
{
	unsigned count = choice & 0xff;
	uint8_t now[LINE_SIZE];
	unsigned i, j;

	memcpy(now, image_at(image, line->line * LINE_SIZE), LINE_SIZE);
	for (i = 0; i < count && i < line->count; i++) {
		const struct inflight_item *item = &line->item[i];
		uint64_t mask = item->mask;

		if (i + 1 == count)
			mask &= torn_mask(choice >> 8);
		for (j = 0; j < LINE_SIZE; j++)
			if (mask >> j & 1)
				now[j] = item->bytes[j];
	}
	image_write(image, line->line * LINE_SIZE, now, LINE_SIZE);
}

void inflight_apply(const struct inflight *inflight, const inflight_choice *choice,
		    struct image *image)
{
	size_t i;

	for (i = 0; i < inflight->groups; i++)
		if (choice[i])
			apply_group(&inflight->group[i], choice[i] >> 8, image);
	for (i = 0; i < inflight->lines; i++)
		if (choice[inflight->groups + i])
			apply_line(&inflight->line[i], choice[inflight->groups + i], image);
}
