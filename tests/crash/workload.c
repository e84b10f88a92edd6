/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables of workloads (workloads/), one after the other. */
#include "tests/crash/workloads/table.h"

static const struct workload_table *const tables[] = {
	&pair_workloads, &name_workloads,      &data_workloads,  &mapping_workloads,
	&tail_workloads, &attribute_workloads, &large_workloads,
};

unsigned workload_count(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		count += tables[i]->count;
	return count;
}

const struct workload *workload_at(unsigned i)
{
	unsigned table = 0;

	while (i >= tables[table]->count)
		i -= tables[table++]->count;
	return &tables[table]->workloads[i];
}
