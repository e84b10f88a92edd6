/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device-dax of this machine. libdaxctl lists them all (pmem namespaces, CXL,
 * hmem); the persistence domain belongs to the NVDIMM region beneath and only
 * libndctl tells it, so devices without one are "unknown".
 */
#include "discover.h"

#include <daxctl/libdaxctl.h>
#include <errno.h>
#include <ndctl/libndctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daxfuse/base/bits.h"

void discover_without_udev(void)
{
	setenv("NDCTL_TIMEOUT", "1", false); /* in milliseconds; 0 would be for ever */
}

static const char *domain_name(enum ndctl_persistence_domain domain)
{
	switch (domain) {
	case PERSISTENCE_NONE:
		return "none";
	case PERSISTENCE_MEM_CTRL:
		return "memory_controller";
	case PERSISTENCE_CPU_CACHE:
		return "cpu_cache";
	default:
		return "unknown";
	}
}

static bool dax_has_device(struct ndctl_dax *dax, const char *name)
{
	struct daxctl_region *region = ndctl_dax_get_daxctl_region(dax);
	struct daxctl_dev *dev;

	if (!region)
		return false;
	daxctl_dev_foreach(region, dev)
	{
		if (!strcmp(daxctl_dev_get_devname(dev), name))
			return true;
	}
	return false;
}

static struct ndctl_region *find_region(struct ndctl_ctx *ctx, const char *name)
{
	struct ndctl_bus *bus;
	struct ndctl_region *region;
	struct ndctl_dax *dax;

	ndctl_bus_foreach(ctx, bus)
	{
		ndctl_region_foreach(bus, region)
		{
			ndctl_dax_foreach(region, dax)
			{
				if (dax_has_device(dax, name))
					return region;
			}
		}
	}
	return NULL;
}

static const char *persistence(struct ndctl_ctx *ctx, const char *name)
{
	struct ndctl_region *region = ctx ? find_region(ctx, name) : NULL;

	return region ? domain_name(ndctl_region_get_persistence_domain(region)) : "unknown";
}

/* The kernel's driver of it: older versions of libdaxctl do not know all of them. */
static void read_driver(const char *name, char *ret_driver, size_t size)
{
	char link[128], target[512];
	ssize_t length;

	snprintf(link, sizeof(link), "/sys/bus/dax/devices/%s/driver", name);
	length = readlink(link, target, sizeof(target) - 1);
	target[MAX(length, 0)] = '\0';
	snprintf(ret_driver, size, "%.31s", strrchr(target, '/') ? strrchr(target, '/') + 1 : "");
}

static const char *find_mode(struct daxctl_dev *dev, const char *driver)
{
	if (daxctl_dev_get_memory(dev))
		return "system-ram";
	if (!daxctl_dev_is_enabled(dev))
		return "disabled";
	if (!strcmp(driver, "fsdev_dax"))
		return "famfs";
	return !*driver || !strcmp(driver, "device_dax") ? "devdax" : "unknown";
}

/* Memory that is online in a zone of the kernel's own: what lies there can't be moved away. */
static bool is_pinned(struct daxctl_dev *dev)
{
	struct daxctl_memory *memory = daxctl_dev_get_memory(dev);

	return memory && daxctl_memory_is_online(memory) > 0 &&
	       daxctl_memory_is_movable(memory) == 0;
}

static void describe(struct daxctl_dev *dev, struct ndctl_ctx *ndctl, struct device_info *ret_info)
{
	struct device_info info = { .kind = DEVICE_DAX };
	const char *name = daxctl_dev_get_devname(dev);

	read_driver(name, info.driver, sizeof(info.driver));
	info.pinned_memory = is_pinned(dev);
	snprintf(info.path, sizeof(info.path), "/dev/%s", name);
	snprintf(info.name, sizeof(info.name), "%s", name);
	snprintf(info.mode, sizeof(info.mode), "%s", find_mode(dev, info.driver));
	snprintf(info.persistence, sizeof(info.persistence), "%s", persistence(ndctl, name));
	info.size = daxctl_dev_get_size(dev);
	info.align = daxctl_dev_get_align(dev);
	info.numa_node = daxctl_dev_get_target_node(dev);
	*ret_info = info;
}

int device_list(int (*fn)(const struct device_info *info, void *arg), void *arg)
{
	struct daxctl_region *region;
	struct daxctl_dev *dev;
	struct daxctl_ctx *daxctl;
	struct ndctl_ctx *ndctl = NULL;
	int result;

	discover_without_udev();
	result = daxctl_new(&daxctl);
	if (result < 0)
		return result;
	if (ndctl_new(&ndctl) < 0)
		ndctl = NULL;
	daxctl_region_foreach(daxctl, region)
	{
		daxctl_dev_foreach(region, dev)
		{
			struct device_info info;

			describe(dev, ndctl, &info);
			result = fn(&info, arg);
			if (result)
				goto out;
		}
	}
out:
	if (ndctl)
		ndctl_unref(ndctl);
	daxctl_unref(daxctl);
	return result;
}

struct wanted {
	const char *name;
	struct device_info *ret_info;
};

static int take_if_wanted(const struct device_info *info, void *arg)
{
	struct wanted *wanted = arg;

	if (strcmp(info->name, wanted->name))
		return 0;
	*wanted->ret_info = *info;
	return 1;
}

int discover_dax(const char *name, struct device_info *ret_info)
{
	struct wanted wanted = { name, ret_info };
	int found = device_list(take_if_wanted, &wanted);

	if (found < 0)
		return found;
	return found ? 0 : -ENOENT;
}
