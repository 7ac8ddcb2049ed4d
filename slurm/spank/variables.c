/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "variables.h"

static const char NAMES[] = "QRMI_VENDOR_VARIABLES", DIGESTS[] = "QRMI_VENDOR_DIGESTS";

static int is_name_start(char c) { return isalpha((unsigned char)c) || c == '_'; }
static int is_name_part(char c) { return isalnum((unsigned char)c) || c == '_'; }

size_t name_length(const char *text)
{
	size_t length = 0;
	if (is_name_start(text[0]))
		while (is_name_part(text[length]))
			length++;
	return length;
}

int has_word(const char *list, char separator, const char *word, size_t length)
{
	for (const char *end; list && *list; list = *end ? end + 1 : end) {
		end = strchrnul(list, separator);
		list += strspn(list, " \t");
		if (end >= list + length && !strncmp(list, word, length) && list + length + strspn(list + length, " \t") >= end)
			return 1;
	}
	return 0;
}

const char *job_variable(spank_t sp, const char *name)
{
	char **environment = NULL;
	size_t length = strlen(name);
	if (spank_get_item(sp, S_JOB_ENV, &environment) != ESPANK_SUCCESS || !environment)
		return NULL;
	for (; *environment; environment++)
		if (!strncmp(*environment, name, length) && (*environment)[length] == '=')
			return *environment + length + 1;
	return NULL;
}

/* FNV-1a; enough to see a change, too little to guess a token from */
static const char *digest(const char *value)
{
	static char text[17];
	uint64_t sum = UINT64_C(14695981039346656037);
	for (; *value; value++)
		sum = (sum ^ (unsigned char)*value) * UINT64_C(1099511628211);
	snprintf(text, sizeof text, "%016" PRIx64, sum);
	return text;
}

static int set(spank_t sp, const char *name, const char *value, int overwrite)
{
	spank_err_t rc = spank_setenv(sp, name, value, overwrite);
	return rc == ESPANK_SUCCESS ? 0 : rc == ESPANK_ENV_EXISTS && !overwrite ? 1 : -1;
}

static int append(spank_t sp, const char *name, const char *item)
{
	const char *list = job_variable(sp, name);
	char *longer = NULL;
	if (asprintf(&longer, "%s%s%s", list ? list : "", list ? "," : "", item) < 0)
		return -1;
	int rc = set(sp, name, longer, 1);
	free(longer);
	return rc;
}

/* Notes a value, of which `length` characters from `first` on are the user's */
static int note(spank_t sp, const char *name, const char *value, size_t first, size_t length)
{
	char *item = NULL;
	if (asprintf(&item, "%s=%s+%zu+%zu", name, digest(value), first, length) < 0)
		return -1;
	int rc = append(sp, DIGESTS, item);
	free(item);
	return rc || length ? rc : append(sp, NAMES, name);
}

int set_variable(spank_t sp, const char *name, const char *value, int overwrite, int vendor)
{
	int rc = set(sp, name, value, overwrite);
	if (rc == 0 && vendor)
		rc = note(sp, name, value, 0, 0);
	return rc < 0 ? -1 : 0;
}

int add_word(spank_t sp, const char *name, const char *word)
{
	int path = !strcmp(name, "PYTHONPATH"), rc = -1;
	char separator = path ? ':' : ',', *longer = NULL;
	const char *hook = job_variable(sp, "QRMI_PASQAL_HOOK"), *list = job_variable(sp, name);
	size_t own = list ? strlen(list) : 0;
	if (path && (!hook || strcmp(hook, "1")))
		return 0;
	if (!own && !path) /* whoever reads the one reads the other only where it is missing */
		list = job_variable(sp, strcmp(name, "NO_PROXY") ? "NO_PROXY" : "no_proxy");
	int whole = list && (!strcmp(list, "*") || has_word(list, separator, word, strlen(word)));
	if (whole && own)
		return 0;
	if (whole)
		longer = strdup(list);
	else if (!list || !*list)
		longer = strdup(word);
	else if (asprintf(&longer, "%s%c%s", path ? word : list, separator, path ? list : word) < 0)
		longer = NULL;
	if (longer && set(sp, name, longer, 1) == 0)
		rc = note(sp, name, longer, path ? strlen(word) + 1 : 0, own);
	free(longer);
	return rc;
}

void take_back(spank_t sp)
{
	const char *given = job_variable(sp, DIGESTS), *value;
	char *list = given ? strdup(given) : NULL, *rest = list, *name, *own, sum[17];
	for (size_t first, length; (name = strsep(&rest, ","));) {
		char *mark = name + name_length(name);
		if (sscanf(mark, "=%16[0-9a-f]+%zu+%zu", sum, &first, &length) != 3)
			continue;
		*mark = '\0';
		if (!(value = job_variable(sp, name)) || strcmp(digest(value), sum))
			continue;
		own = length && first < strlen(value) ? strndup(value + first, length) : NULL;
		if (!own || spank_setenv(sp, name, own, 1) != ESPANK_SUCCESS)
			spank_unsetenv(sp, name);
		free(own);
	}
	free(list);
	if (given) {
		spank_unsetenv(sp, DIGESTS);
		spank_unsetenv(sp, NAMES);
	}
}
