/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The options --qpu and --qpu-env of sbatch, salloc and srun, and the environment of a job that was given QPUs.
 *
 * The plugin decides nothing. On the submit host it checks the form of --qpu and hands it on; job_submit.lua makes
 * licences of it. On a node, root's prolog has asked the gateway and left the answer in STATE_DIR/JOBID (see the state
 * file in docs/administrator-guide.md), which the plugin turns into environment. What it sees of the option there may be
 * forged, so that nothing is given for it; it only tells a job that asked and got nothing from one that never asked.
 *
 * Where errors may be returned is narrow: any other REMOTE hook than the task's own drains the node or lets the job end
 * as COMPLETED. spank_job_control_*() outside of init_post_opt crashes srun and the node's prolog.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <slurm/spank.h>
#include "variables.h"

SPANK_PLUGIN(qrmi, 1)

enum { NAME_MAX_LENGTH = 40, OPTION_MAX_LENGTH = 2048, FILE_MAX = 1 << 20, VALUE_MAX = 100000 };

static char *asked;  /* the value of --qpu, NULL without one */
static const char *vendor_env; /* the value of --qpu-env, NULL without one */
static int components, calls; /* of a heterogeneous submission handed on; calls of take_option for the one at hand */
static char *refusal; /* on a node: why the tasks of this job do not start */

/* 1 where the name `name` of `length` characters is one of the items before `end` */
static int is_repeated(const char *list, const char *end, size_t length)
{
	for (const char *item = list; item < end; item += strcspn(item, ",") + 1)
		if (name_length(item) == length && !strncasecmp(item, end, length))
			return 1;
	return 0;
}

static int is_lanes(const char *text, size_t length)
{
	if (length == 4 && !strncmp(text, "full", 4))
		return 1;
	return length >= 1 && length <= 4 && text[0] != '0' && strspn(text, "0123456789") >= length;
}

/* What is wrong with the item at `item` of the list, NULL where nothing is */
static const char *item_mistake(const char *list, const char *item, size_t length)
{
	size_t name = name_length(item);
	if (!length)
		return "an item is empty";
	if (!name || (name < length && item[name] != ':'))
		return "a name begins with a letter or _ and goes on with letters, digits and _";
	if (name > NAME_MAX_LENGTH)
		return "a name has at most 40 characters";
	if (name < length && !is_lanes(item + name + 1, length - name - 1))
		return "lanes are a number from 1 to 9999, or `full`";
	if (is_repeated(list, item, name))
		return "the same QPU is named twice (upper and lower case are the same)";
	return NULL;
}

static int take_option(int val, const char *value, int remote)
{
	const char *inherited = getenv("SLURM_SPANK__SLURM_SPANK_OPTION_qrmi_qpu");
	(void)val;
	if (!value)
		value = "";
	/* sbatch and salloc leave the leader's option in their own environment, and read it for each further component */
	if (!remote && components && !calls++ && inherited && !strcmp(inherited, value))
		return 0;
	if (!remote) {
		const char *form = "expected --qpu=NAME[:LANES|:full][,...], for example --qpu=ibm_fez or --qpu=a:2,b:full";
		if (strlen(value) > OPTION_MAX_LENGTH) {
			slurm_error("--qpu: the value is longer than %d characters; %s", OPTION_MAX_LENGTH, form);
			return -1;
		}
		for (const char *item = value;; item++) {
			size_t length = strcspn(item, ",");
			const char *mistake = item_mistake(value, item, length);
			if (mistake) {
				slurm_error("--qpu=%s: '%.*s': %s; %s", value, (int)length, item, mistake, form);
				return -1;
			}
			item += length;
			if (!*item)
				break;
		}
		const char *whole = getenv("SLURM_JOB_ID") ? getenv("SLURM_SPANK_QPU") : NULL;
		if (whole && spank_context() == S_CTX_LOCAL && strcmp(whole, value)) {
			slurm_error("--qpu=%s: this job was submitted with --qpu=%s, which all its steps use: leave --qpu out here",
				    value, whole);
			return -1;
		}
	}
	free(asked);
	asked = strdup(value);
	return asked ? 0 : -1;
}

static struct spank_option option_qpu = {
	(char *)"qpu", (char *)"NAME[:LANES|:full][,...]",
	(char *)"QPUs for this job, with the lanes of each (default 1); `qrmi qpus` lists them", 1, 0, take_option
};

static int take_env(int val, const char *value, int remote)
{
	(void)val, (void)remote;
	vendor_env = !value ? NULL : !strcmp(value, "off") ? "off" : !strcmp(value, "on") ? "on" : NULL;
	if (!vendor_env)
		slurm_error("--qpu-env=%s: expected --qpu-env=on or --qpu-env=off", value ? value : "");
	return vendor_env ? 0 : -1;
}

static struct spank_option option_env = {
	(char *)"qpu-env", (char *)"on|off",
	(char *)"whether vendors' own programs find the QPUs of --qpu in their environment (default on)", 1, 0, take_env
};

__attribute__((format(printf, 1, 2))) static void refuse(const char *format, ...)
{
	va_list values;
	free(refusal);
	va_start(values, format);
	if (vasprintf(&refusal, format, values) < 0)
		refusal = NULL;
	va_end(values);
}

static const char *state_dir(int ac, char **av)
{
	for (int i = 0; i < ac; i++)
		if (!strncmp(av[i], "state_dir=", 10))
			return av[i] + 10;
	return "/run/qrmi";
}

/* The text of STATE_DIR/JOB, to be freed; NULL where there is none, with *problem set where it is not to be trusted */
static char *read_state(const char *directory, uint32_t job, const char **problem)
{
	struct stat st;
	char name[16], *text = NULL;
	size_t size = 0;
	int fd = -1, dir = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	snprintf(name, sizeof name, "%u", job);
	if (dir < 0)
		*problem = errno == ENOENT ? NULL : "its directory cannot be opened";
	else if (fstat(dir, &st) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
		*problem = "its directory belongs to others, or others may write there";
	else if ((fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) < 0)
		*problem = errno == ENOENT ? NULL : "it cannot be opened as a file";
	else if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_nlink != 1)
		*problem = "it is no regular file of its own";
	else if (st.st_uid != geteuid() || (st.st_mode & (S_IRWXG | S_IRWXO)))
		*problem = "it belongs to others, or others may read or write it";
	else if (st.st_size > FILE_MAX)
		*problem = "it is larger than 1 MB";
	else if (!(text = malloc((size_t)st.st_size + 1)))
		*problem = "no memory";
	else {
		for (ssize_t n; size < (size_t)st.st_size; size += (size_t)n)
			if ((n = read(fd, text + size, (size_t)st.st_size - size)) <= 0)
				break;
		text[size] = '\0';
		if (strlen(text) != size || !size || text[size - 1] != '\n') {
			*problem = "it is cut short, or no text";
			free(text);
			text = NULL;
		}
	}
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	return text;
}

/* Cuts the next line off *text; NULL at the end */
static char *next_line(char **text)
{
	char *line = *text, *end = strchr(line, '\n');
	if (!end)
		return NULL;
	*end = '\0';
	*text = end + 1;
	return line;
}

static int is_variable(const char *text)
{
	size_t name = name_length(text);
	return name && text[name] == '=' && strlen(text) <= VALUE_MAX;
}

static int is_name(const char *text)
{
	size_t name = name_length(text);
	return name && !text[name];
}

static int is_lease(const char *text) { return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32; }

/* What a line of a state file is about, NULL where it is not understood; *what is the first letter of its word. With
 * `vendor` in front it is for vendors' clients, and --qpu-env=off leaves it out */
static char *subject(char *line, char *what, int *vendor)
{
	static const char *const words[] = { "set ", "default ", "extend ", "unset " };
	*vendor = !strncmp(line, "vendor ", 7);
	*what = line[*vendor ? 7 : 0];
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		char *after = line + (*vendor ? 7 : 0) + strlen(words[i]);
		if (!strncmp(line + (*vendor ? 7 : 0), words[i], strlen(words[i])))
			return (*what == 'u' ? is_name(after) : is_variable(after)) ? after : NULL;
	}
	return NULL;
}

/* A state file whose every line was understood; its lines end with NUL, and lie between `body` and `end` */
struct state {
	char *lease, *reason, *body, *end;
	int vendor_off; /* by the job's --qpu-env, which its steps do not see after --export=NONE */
};

/* Looks at all of it before any of it counts; what is wrong, NULL where nothing is */
static const char *parse_state(char *text, uid_t uid, struct state *state)
{
	char *line, *rest = text, *lease = NULL, *reason = NULL, owner[32];
	int variables = 0, off = 0, vendor;
	char what;
	snprintf(owner, sizeof owner, "uid %lu", (unsigned long)uid);
	if (!(line = next_line(&rest)) || strcmp(line, "qrmi-state 1"))
		return "it is not of version 1";
	if (!(line = next_line(&rest)) || strcmp(line, owner))
		return "it is of another user";
	char *body = rest;
	while ((line = next_line(&rest))) {
		if (!strncmp(line, "lease ", 6) && is_lease(line + 6) && !lease)
			lease = line + 6;
		else if (!strncmp(line, "refused ", 8) && line[8] && !reason)
			reason = line + 8;
		else if (!strcmp(line, "qpu-env off"))
			off = 1;
		else if (subject(line, &what, &vendor))
			variables++;
		else
			return "one of its lines is not understood";
	}
	if (reason ? lease || variables : !lease)
		return "it must hold either a lease or a refusal";
	*state = (struct state){ lease, reason, body, rest, off };
	return NULL;
}

static const char *apply_state(spank_t sp, const struct state *state)
{
	int vendor, off = vendor_env ? !strcmp(vendor_env, "off") : state->vendor_off;
	if (state->reason) {
		refuse("%s", state->reason);
		return NULL;
	}
	spank_setenv(sp, "QRMI_LEASE_ID", state->lease, 1);
	for (char *line = state->body, *next; line < state->end; line = next) {
		char what, *name = subject(line, &what, &vendor);
		next = line + strlen(line) + 1;
		if (!name || (vendor && off))
			continue;
		char *value = name + name_length(name);
		if (*value)
			*value++ = '\0';
		if (what == 'u')
			spank_unsetenv(sp, name);
		else if (what == 'e' ? add_word(sp, name, value) : set_variable(sp, name, value, what == 's', vendor))
			return "one of its variables cannot be set";
	}
	return NULL;
}

/* 1 where a variable is NAME_QRMI_... for a NAME in the list */
static int is_of_list(const char *variable, const char *list, char cut)
{
	for (const char *end = variable; (end = strstr(end, "_QRMI_")); end++)
		if (end > variable && has_word(list, cut, variable, (size_t)(end - variable)))
			return 1;
	return 0;
}

/* Takes away what was inherited from another job; with the lease of this job, what its steps inherit stays: a credential
 * of the user's own is among it. Without any lease it is no job's, but what `qrmi run` gives the command that it runs */
static void unset_stale(spank_t sp, const char *lease)
{
	static const char *const own[] = { "QRMI_JOB_QPU_RESOURCES", "QRMI_JOB_QPU_TYPES", "QRMI_LIST_DELIMITER",
		"QRMI_PLUGIN_ERROR", "QRMI_LEASE_ID", "QRMI_JOB_ACQUISITION_TOKEN", "SLURM_JOB_QPU_RESOURCES",
		"SLURM_JOB_QPU_TYPES" };
	char **environment = NULL, **stale;
	size_t count = 0, found = 0;
	if (spank_get_item(sp, S_JOB_ENV, &environment) != ESPANK_SUCCESS || !environment)
		return;
	while (environment[count])
		count++;
	const char *delimiter = job_variable(sp, "QRMI_LIST_DELIMITER");
	char cut = delimiter && *delimiter ? *delimiter : ',';
	const char *names = job_variable(sp, "QRMI_JOB_QPU_RESOURCES");
	const char *old_names = job_variable(sp, "SLURM_JOB_QPU_RESOURCES");
	const char *inherited = job_variable(sp, "QRMI_LEASE_ID");
	int same = lease && inherited && !strcmp(lease, inherited);
	if (!lease && !inherited) {
		spank_unsetenv(sp, "QRMI_PLUGIN_ERROR");
		return;
	}
	/* unsetting moves the list that is being read */
	if (!(stale = calloc(count + 1, sizeof *stale)))
		return;
	for (size_t i = 0; i < count && !same; i++)
		if (is_of_list(environment[i], names, cut) || is_of_list(environment[i], old_names, cut))
			if ((stale[found] = strndup(environment[i], strcspn(environment[i], "="))))
				found++;
	for (size_t i = 0; i < found; i++) {
		spank_unsetenv(sp, stale[i]);
		free(stale[i]);
	}
	free(stale);
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		spank_unsetenv(sp, own[i]);
}

static void set_environment(spank_t sp, const char *directory)
{
	uint32_t job = 0;
	uid_t uid = (uid_t)-1;
	const char *problem = NULL;
	struct state state = { 0 };
	if (spank_get_item(sp, S_JOB_ID, &job) != ESPANK_SUCCESS || spank_get_item(sp, S_JOB_UID, &uid) != ESPANK_SUCCESS)
		return;
	char *text = read_state(directory, job, &problem);
	int answered = text != NULL;
	if (text)
		problem = parse_state(text, uid, &state);
	take_back(sp);
	unset_stale(sp, state.lease);
	if (text && !problem)
		problem = apply_state(sp, &state);
	free(text);
	if (problem)
		slurm_error("qrmi: %s/%u is not used: %s", directory, job, problem);
	/* the steps of every component of a heterogeneous job carry the leader's option, and only the leader has QPUs */
	int component = job_variable(sp, "SLURM_HET_SIZE") != NULL;
	if (asked && problem)
		refuse("what this node knows of job %u (%s/%u) is not to be trusted: %s; tell the administrators", job, directory,
		       job, problem);
	else if (asked && !answered && !component)
		refuse("job %u holds no QPU: --qpu belongs to the submission of the job (sbatch, salloc, or srun outside of a job); "
		       "if it was there, tell the administrators that the prolog left nothing in %s", job, directory);
	if (refusal)
		spank_setenv(sp, "QRMI_PLUGIN_ERROR", refusal, 1);
}

int slurm_spank_init(spank_t sp, int ac, char **av)
{
	(void)ac, (void)av;
	if (spank_context() != S_CTX_SLURMD && spank_option_register(sp, &option_qpu) != ESPANK_SUCCESS)
		slurm_error("qrmi: the option --qpu cannot be registered; another plugin may have one of this name");
	if (spank_context() != S_CTX_SLURMD && spank_option_register(sp, &option_env) != ESPANK_SUCCESS)
		slurm_error("qrmi: the option --qpu-env cannot be registered");
	return 0;
}

static int hand_on(spank_t sp)
{
	/* called for each component of a heterogeneous job, with what was noted for the last one still there */
	spank_job_control_unsetenv(sp, "QPU");
	spank_job_control_unsetenv(sp, "QPU_ENV");
	if ((asked && spank_job_control_setenv(sp, "QPU", asked, 1) != ESPANK_SUCCESS) ||
	    (vendor_env && spank_job_control_setenv(sp, "QPU_ENV", vendor_env, 1) != ESPANK_SUCCESS)) {
		slurm_error("--qpu and --qpu-env cannot be handed to Slurm");
		return -1;
	}
	free(asked);
	asked = NULL;
	components++;
	calls = 0;
	return 0;
}

int slurm_spank_init_post_opt(spank_t sp, int ac, char **av)
{
	spank_context_t context = spank_context();
	if (context == S_CTX_REMOTE)
		set_environment(sp, state_dir(ac, av));
	else if (context == S_CTX_LOCAL || context == S_CTX_ALLOCATOR)
		return hand_on(sp);
	return 0;
}

int slurm_spank_task_init_privileged(spank_t sp, int ac, char **av)
{
	int task = 0;
	(void)ac, (void)av;
	if (!refusal)
		return 0;
	if (spank_get_item(sp, S_TASK_ID, &task) != ESPANK_SUCCESS || task == 0)
		slurm_error("no QPU for this job: %s", refusal);
	return -1;
}

/* Where plugstack.conf says `optional`, Slurm goes on after the -1 above; this is how slurmstepd itself ends a task here */
int slurm_spank_task_init(spank_t sp, int ac, char **av)
{
	(void)sp, (void)ac, (void)av;
	if (refusal)
		_exit(1);
	return 0;
}
