/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking for signatures.
 *
 * libblkid reads files and block devices only, and a device-dax cannot be read at all. So the first
 * and the last pieces of the device or image are copied into a sparse memfd of the same size, and
 * libblkid looks at that.
 */
#include "signature.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <uuid/uuid.h>

#include "daxfuse/base/bits.h"
#include "daxfuse/base/cleanup.h"
#include "daxfuse/base/errint.h"
#include "daxfuse/media/volume.h"

/* Every signature that libblkid knows lies within these. */
#define HEAD_SIZE (UINT64_C(2) << 20)
#define TAIL_SIZE (UINT64_C(1) << 20)
#define STEP (UINT64_C(64) << 10)

static bool is_zero(const char *buf, size_t len)
{
	return len == 0 || (buf[0] == 0 && !memcmp(buf, buf + 1, len - 1));
}

static void take_super(const struct dxf_super *super, struct signature *signature)
{
	signature->super = *super;
	uuid_unparse_lower(super->uuid, signature->uuid);
	snprintf(signature->label, sizeof(signature->label), "%.64s", (const char *)super->label);
}

static errint_t peek_super(const struct device *dev, uint64_t offset, struct dxf_super *ret_super)
{
	int err = device_peek(dev, offset, ret_super, sizeof(*ret_super));

	return err ? err : super_check(ret_super, device_info(dev)->size);
}

/* Whether an error of super_check() means that the copy itself is intact. */
static bool is_intact(int err)
{
	return err == 0 || err == -EROFS || err == -EFBIG || err == -EOPNOTSUPP;
}

static void take_pool(const struct dxf_super *super, int state, bool spare,
		      struct signature *signature)
{
	signature->kind = SIGNATURE_POOL;
	signature->state = state;
	signature->spare = spare;
	snprintf(signature->type, sizeof(signature->type), "daxfuse");
	if (is_intact(state))
		take_super(super, signature);
}

/* The spare copy is looked for where a pool that fills the device has it. */
static bool find_spare(const struct device *dev, struct signature *signature)
{
	uint64_t size = round_down(device_info(dev)->size, DXF_UNIT_SIZE);
	struct dxf_super super;
	int err;

	if (size < DXF_POOL_MIN)
		return false;
	err = peek_super(dev, size - DXF_UNIT_SIZE, &super);
	if (is_intact(err))
		take_pool(&super, err, true, signature);
	return is_intact(err);
}

/* Whether the first copy is there, and if it is torn the spare one. */
static bool find_pool(const struct device *dev, struct signature *signature)
{
	struct dxf_super super;
	int err = peek_super(dev, 0, &super);

	if (is_intact(err))
		take_pool(&super, err, false, signature);
	else if (err == -EUCLEAN && !find_spare(dev, signature))
		take_pool(NULL, err, false, signature);
	return signature->kind == SIGNATURE_POOL;
}

static errint_t copy_part(const struct device *dev, uint64_t offset, uint64_t length, int to,
			  bool *ret_data)
{
	CLEANUP_FREE char *buf = malloc(STEP);

	if (!buf)
		return -ENOMEM;
	for (uint64_t done = 0; done < length; done += STEP) {
		size_t step = MIN(STEP, length - done);
		int err = device_peek(dev, offset + done, buf, step);

		if (err == -EIO) { /* poison: something was there */
			*ret_data = true;
			continue;
		}
		if (err)
			return err;
		if (is_zero(buf, step))
			continue;
		*ret_data = true;
		if (pwrite(to, buf, step, (off_t)(offset + done)) != (ssize_t)step)
			return -EIO;
	}
	return 0;
}

static errint_t copy_ends(const struct device *dev, int *ret_fd, bool *ret_data)
{
	uint64_t size = device_info(dev)->size;
	uint64_t head = MIN(HEAD_SIZE, size), tail = MIN(TAIL_SIZE, size - head);
	CLEANUP_FD int fd = memfd_create("signature", MFD_CLOEXEC);
	int err;

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return -errno;
	err = copy_part(dev, 0, head, fd, ret_data);
	if (!err)
		err = copy_part(dev, size - tail, tail, fd, ret_data);
	if (err)
		return err;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void take_value(blkid_probe probe, const char *name, char *buf, size_t size)
{
	const char *value;

	if (blkid_probe_lookup_value(probe, name, &value, NULL) == 0)
		snprintf(buf, size, "%.*s", (int)size - 1, value);
}

static bool find_foreign(int fd, struct signature *signature)
{
	blkid_probe probe = blkid_new_probe();
	bool found = false;

	if (!probe)
		return false;
	if (blkid_probe_set_device(probe, fd, 0, 0) == 0) {
		blkid_probe_enable_superblocks(probe, 1);
		blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_UUID |
								 BLKID_SUBLKS_LABEL);
		blkid_probe_enable_partitions(probe, 1);
		/* 0: one found; -2: several, which is foreign all the same */
		switch (blkid_do_safeprobe(probe)) {
		case 0:
			take_value(probe, "TYPE", signature->type, sizeof(signature->type));
			if (!*signature->type)
				take_value(probe, "PTTYPE", signature->type,
					   sizeof(signature->type));
			take_value(probe, "UUID", signature->uuid, sizeof(signature->uuid));
			take_value(probe, "LABEL", signature->label, sizeof(signature->label));
			found = true;
			break;
		case -2:
			snprintf(signature->type, sizeof(signature->type), "ambivalent");
			found = true;
			break;
		}
	}
	blkid_free_probe(probe);
	return found;
}

/*
 * What lies on device-dax and nowhere else, so that libblkid does not know it: the superblock of
 * famfs (its magic is in linux/magic.h), and the header of a libpmemobj, libpmemlog or libpmemblk
 * pool (pmemfile, DAOS and pmemkv lie in the first).
 */
static const struct known {
	const char *magic;
	size_t length;
	const char *type, *advice;
} known[] = {
	{ "\xff\x82\xb2\x87\0\0\0", 8, "famfs",
	  "unmount it on all hosts that share the memory, then use -f to overwrite it" },
	{ "PMEMOBJ", 8, "pmemobj",
	  "end the programs that use that pool, then use -f to overwrite it" },
	{ "PMEMLOG", 8, "pmemlog",
	  "end the programs that use that pool, then use -f to overwrite it" },
	{ "PMEMBLK", 8, "pmemblk",
	  "end the programs that use that pool, then use -f to overwrite it" },
};

static bool find_known(int fd, struct signature *signature)
{
	char head[8];

	if (pread(fd, head, sizeof(head), 0) != sizeof(head))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!memcmp(head, known[i].magic, known[i].length)) {
			snprintf(signature->type, sizeof(signature->type), "%s", known[i].type);
			return true;
		}
	}
	return false;
}

const char *signature_advice(const struct signature *signature)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (signature->kind == SIGNATURE_FOREIGN && !strcmp(signature->type, known[i].type))
			return known[i].advice;
	}
	return "use -f to overwrite it";
}

/* A spare superblock counts only where nothing else has been put since: others
 * leave the end of the device as it was. */
errint_t signature_read(struct device *dev, struct signature *ret_signature)
{
	struct signature signature = { .kind = SIGNATURE_BLANK };
	CLEANUP_FD int fd = -1;
	bool data = false;
	int err;

	if (!find_pool(dev, &signature)) {
		err = copy_ends(dev, &fd, &data);
		if (err)
			return err;
		if (data && (find_known(fd, &signature) || find_foreign(fd, &signature)))
			signature.kind = SIGNATURE_FOREIGN;
		else if (!find_spare(dev, &signature) && data)
			signature.kind = SIGNATURE_UNKNOWN;
	}
	*ret_signature = signature;
	return 0;
}

errint_t signature_of(const char *path, struct signature *ret_signature,
		      struct device_info *ret_info, struct device_error *ret_error)
{
	struct device *dev;
	int err;

	err = device_open(path, DEVICE_READ | DEVICE_NO_LOCK, &dev, ret_error);
	if (err)
		return err;
	err = signature_read(dev, ret_signature);
	if (err) {
		snprintf(ret_error->what, sizeof(ret_error->what), "cannot be read");
		ret_error->advice[0] = '\0';
	} else if (ret_info) {
		*ret_info = *device_info(dev);
	}
	device_close(dev);
	return err;
}

const char *signature_text(const struct signature *signature, char *buf, size_t size)
{
	switch (signature->kind) {
	case SIGNATURE_BLANK:
		snprintf(buf, size, "is blank");
		break;
	case SIGNATURE_POOL:
		snprintf(buf, size, "holds a pool of daxfuse%s%s",
			 *signature->uuid ? ", UUID " : "", signature->uuid);
		break;
	case SIGNATURE_FOREIGN:
		snprintf(buf, size, "holds a signature of %s%s%s", signature->type,
			 *signature->label ? ", label " : "", signature->label);
		break;
	case SIGNATURE_UNKNOWN:
		snprintf(buf, size, "holds data of an unknown kind");
		break;
	}
	return buf;
}
