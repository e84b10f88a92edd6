/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxfuse probe: the answers that blkid has for block devices, for device-dax and images. Exit
 * status 2 says, as blkid's, that there is no pool.
 */
#include <blkid/blkid.h>
#include <getopt.h>
#include <stdio.h>

#include "command.h"
#include "report.h"
#include "signature.h"

#define NOTHING_FOUND 2

static const struct command_option options[] = {
	{ 'U', "udev", NULL, "print KEY=VALUE lines for a udev rule" },
	{ 0 },
};

static const struct command command = {
	.name = "daxfuse probe",
	.usage = "DEVICE",
	.summary = "Show what lies on a device or image: type, UUID, label (JSON).",
	.options = options,
	.details = "Exit status: 0 a pool of daxfuse, 2 anything else, 1 failure.",
	.usage_status = 1,
};

static void print_pair(const char *key, const char *value)
{
	char safe[256];

	if (!*value)
		return;
	if (blkid_safe_string(value, safe, sizeof(safe)) == 0)
		printf("ID_FS_%s=%s\n", key, safe);
}

static void print_encoded(const char *key, const char *value)
{
	char encoded[512];

	if (!*value)
		return;
	if (blkid_encode_string(value, encoded, sizeof(encoded)) == 0)
		printf("ID_FS_%s_ENC=%s\n", key, encoded);
}

static void print_udev(const struct signature *signature)
{
	if (signature->kind != SIGNATURE_POOL)
		return;
	print_pair("TYPE", signature->type);
	printf("ID_FS_USAGE=filesystem\n");
	if (!*signature->uuid)
		return;
	printf("ID_FS_VERSION=%u\n", signature->super.version);
	print_pair("UUID", signature->uuid);
	print_encoded("UUID", signature->uuid);
	print_pair("LABEL", signature->label);
	print_encoded("LABEL", signature->label);
}

static void print_json(const char *path, const struct signature *signature)
{
	static const char *const kinds[] = { "blank", "pool", "foreign", "unknown" };
	CLEANUP_JSON struct json_object *object = json_object_new_object();

	json_object_object_add(object, "device", json_object_new_string(path));
	json_object_object_add(object, "content", json_object_new_string(kinds[signature->kind]));
	if (*signature->type)
		json_object_object_add(object, "type", json_object_new_string(signature->type));
	if (*signature->uuid)
		json_object_object_add(object, "uuid", json_object_new_string(signature->uuid));
	if (*signature->label)
		json_object_object_add(object, "label", json_object_new_string(signature->label));
	if (signature->kind == SIGNATURE_POOL && *signature->uuid) {
		json_object_object_add(object, "version",
				       json_object_new_int64(signature->super.version));
		json_object_object_add(object, "size",
				       json_object_new_uint64(signature->super.pool_size));
	}
	if (signature->kind == SIGNATURE_POOL) {
		json_object_object_add(object, "mountable",
				       json_object_new_boolean(signature->state == 0));
		json_object_object_add(object, "spare_super",
				       json_object_new_boolean(signature->spare));
	}
	report_json(object);
}

int probe_main(int argc, char **argv)
{
	struct signature signature;
	struct device_error error;
	bool udev = false;
	int err;

	while (command_next(&command, argc, argv) == 'U')
		udev = true;
	command_operands(&command, argc, 1, 1);
	err = signature_of(argv[optind], &signature, NULL, &error);
	if (err) {
		report_device_error("daxfuse", argv[optind], err, &error);
		return 1;
	}
	if (udev)
		print_udev(&signature);
	else
		print_json(argv[optind], &signature);
	return signature.kind == SIGNATURE_POOL ? 0 : NOTHING_FOUND;
}
