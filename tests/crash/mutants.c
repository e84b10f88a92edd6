/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/mutants.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SITES_MAX 256

struct mutant {
	const void *site;
	uint8_t kind; /* of the call, enum log_kind */
	uint8_t mutation;
	bool caught;
	unsigned tries; /* jobs that were run */
	unsigned by;    /* job that caught it */
};

/* Shared between the workers. */
struct mutants {
	const struct job *jobs;
	unsigned job_count;
	unsigned count;
	struct mutant mutant[3 * SITES_MAX];
	unsigned sites;
	const void *site[SITES_MAX];
	uint8_t kind[SITES_MAX];
	uint8_t hits[SITES_MAX][1024]; /* of a site by a job */
};

static unsigned site_index(struct mutants *mutants, const struct log_event *event)
{
	unsigned i;

	for (i = 0; i < mutants->sites; i++)
		if (mutants->site[i] == event->site && mutants->kind[i] == event->kind)
			return i;
	if (i == SITES_MAX)
		return i;
	mutants->site[i] = event->site;
	mutants->kind[i] = event->kind;
	mutants->sites++;
	return i;
}

/* Run every job without judging, to learn who calls what. One worker. */
static void learn(struct runner *runner, unsigned task, void *arg)
{
	struct mutants *mutants = arg;
	size_t i;

	runner->dry = true;
	runner_run(runner, &mutants->jobs[task]);
	for (i = 0; i < runner->log.count; i++) {
		const struct log_event *event = &runner->log.event[i];
		unsigned site;

		if (event->kind == LOG_STORE || event->kind == LOG_ZERO || event->kind == LOG_MARK)
			continue;
		site = site_index(mutants, event);
		if (site < SITES_MAX)
			mutants->hits[site][task] = 1;
	}
}

static void learn_died(unsigned task, int signal, void *arg)
{
	fprintf(stderr, "job %u died of signal %d without any mutant\n", task, signal);
}

static void add_mutant(struct mutants *mutants, unsigned site, enum log_mutation mutation)
{
	struct mutant *mutant = &mutants->mutant[mutants->count++];

	mutant->site = mutants->site[site];
	mutant->kind = mutants->kind[site];
	mutant->mutation = (uint8_t)mutation;
}

static unsigned site_of(const struct mutants *mutants, const struct mutant *mutant)
{
	unsigned i;

	for (i = 0; mutants->site[i] != mutant->site || mutants->kind[i] != mutant->kind; i++)
		;
	return i;
}

/* file:line of a call site. */
static void describe_site(const void *site, char *text, size_t size)
{
	char command[512], exe[256];
	ssize_t length = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	Dl_info info;
	FILE *pipe;

	snprintf(text, size, "%p", site);
	if (length <= 0 || !dladdr(site, &info))
		return;
	exe[length] = '\0';
	snprintf(command, sizeof(command), "addr2line -s -f -p -e '%s' %#lx", exe,
		 (unsigned long)((const char *)site - (const char *)info.dli_fbase - 1));
	pipe = popen(command, "r");
	if (!pipe)
		return;
	if (fgets(text, (int)size, pipe))
		text[strcspn(text, "\n")] = '\0';
	pclose(pipe);
}

static const char *kind_name(const struct mutant *mutant)
{
	if (mutant->mutation == MUTATION_CACHED)
		return "non-temporal store made a cached one";
	if (mutant->mutation == MUTATION_SWAP)
		return "flush behind the next fence";
	return mutant->kind == LOG_FENCE ? "fence dropped" : "flush dropped";
}

static void try_mutant(struct runner *runner, unsigned task, void *arg)
{
	struct mutants *mutants = arg;
	struct mutant *mutant = &mutants->mutant[task];
	const uint8_t *hits = mutants->hits[site_of(mutants, mutant)];
	char text[256];
	unsigned i;

	log_set_mutation(mutant->mutation, mutant->site);
	for (i = 0; i < mutants->job_count && !mutant->caught; i++) {
		if (!hits[i])
			continue;
		mutant->by = i;
		mutant->tries++;
		mutant->caught = runner_run(runner, &mutants->jobs[i]) != 0;
	}
	describe_site(mutant->site, text, sizeof(text));
	fprintf(stderr, "%s: %s, %s after %u jobs\n", text, kind_name(mutant),
		mutant->caught ? "caught" : "survives", mutant->tries);
	log_set_mutation(MUTATION_NONE, NULL);
}

static void mutant_died(unsigned task, int signal, void *arg)
{
	struct mutants *mutants = arg;

	mutants->mutant[task].caught = true;
}

static struct json_object *mutant_json(const struct mutants *mutants, const struct mutant *mutant)
{
	struct json_object *object = json_object_new_object();
	char text[256];

	describe_site(mutant->site, text, sizeof(text));
	json_object_object_add(object, "site", json_object_new_string(text));
	json_object_object_add(object, "what", json_object_new_string(kind_name(mutant)));
	json_object_object_add(object, "jobs", json_object_new_int((int)mutant->tries));
	if (mutant->caught) {
		job_name(&mutants->jobs[mutant->by], text, sizeof(text));
		json_object_object_add(object, "caught_by", json_object_new_string(text));
	}
	return object;
}

static void summarize(const struct mutants *mutants, struct json_object *summary)
{
	struct json_object *survivors = json_object_new_array();
	struct json_object *dead = json_object_new_array();
	unsigned caught = 0;
	unsigned i;

	for (i = 0; i < mutants->count; i++) {
		const struct mutant *mutant = &mutants->mutant[i];

		caught += mutant->caught;
		json_object_array_add(mutant->caught ? dead : survivors,
				      mutant_json(mutants, mutant));
	}
	json_object_object_add(summary, "sites", json_object_new_int((int)mutants->sites));
	json_object_object_add(summary, "mutants", json_object_new_int((int)mutants->count));
	json_object_object_add(summary, "caught", json_object_new_int((int)caught));
	json_object_object_add(summary, "survivors", survivors);
	json_object_object_add(summary, "dead", dead);
}

int mutants_run(const struct job *jobs, unsigned job_count, unsigned workers,
		struct json_object *summary)
{
	struct mutants *mutants = supervise_shared(sizeof(*mutants));
	struct supervise run = { .workers = 1,
				 .hang_seconds = 300,
				 .tasks = job_count < 1024 ? job_count : 1024,
				 .config = { .quiet = true,
					     .stop_at_first = true,
					     .cached_only = true,
					     .replay = -1 },
				 .run = learn,
				 .died = learn_died,
				 .arg = mutants };
	struct tally total = { 0 };
	unsigned i;
	int err;

	mutants->jobs = jobs;
	mutants->job_count = run.tasks;
	err = supervise_run(&run, &total);
	for (i = 0; i < mutants->sites && !err; i++) {
		if (mutants->kind[i] == LOG_FLUSH) {
			add_mutant(mutants, i, MUTATION_DROP);
			add_mutant(mutants, i, MUTATION_SWAP);
		} else if (mutants->kind[i] == LOG_FENCE) {
			add_mutant(mutants, i, MUTATION_DROP);
		} else {
			add_mutant(mutants, i, MUTATION_CACHED);
		}
	}
	run.config.limit =
		(struct enumerate_limit){ .all = 512, .pairs = 60, .random = 20, .torn = 40 };
	run.workers = workers;
	run.tasks = mutants->count;
	run.run = try_mutant;
	run.died = mutant_died;
	if (!err)
		err = supervise_run(&run, &total);
	summarize(mutants, summary);
	return err;
}
