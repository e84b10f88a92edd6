/* SPDX-License-Identifier: BSD-3-Clause */
/* populate IMAGE: make the population in a file that is large enough. */
#include <stdio.h>
#include <string.h>

#include "daxfuse/pmem/device.h"
#include "tests/fuzz/population.h"

int main(int argc, char **argv)
{
	struct device_error error;
	struct device *dev;
	struct pmem *pm;
	int err;

	if (argc != 2)
		return 2;
	err = device_open(argv[1], DEVICE_WRITE, &dev, &error);
	if (err) {
		fprintf(stderr, "%s: %s\n", argv[1], error.what);
		return 1;
	}
	err = device_map(dev, &pm, &error);
	if (!err)
		err = population_make(pm, false);
	if (err)
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-err));
	device_close(dev);
	return err ? 1 : 0;
}
