/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The variables of a job, in the contexts in which Slurm lets a plugin change them.
 *
 * What is set for vendors' clients is noted in the job itself, so that a step or a job that inherits it can tell it from
 * what the user set: QRMI_VENDOR_VARIABLES=NAME,... are those that are not the user's at all, and in
 * QRMI_VENDOR_DIGESTS=NAME=DIGEST+FIRST+LENGTH,... are all, with the digest of the value, and which part of it was the
 * user's. What was changed since then is the user's too.
 */
#ifndef QRMI_VARIABLES_H
#define QRMI_VARIABLES_H
#include <stddef.h>
#include <slurm/spank.h>

#pragma GCC visibility push(hidden)

/* How many characters at the beginning of a text are a name */
size_t name_length(const char *text);

/* 1 where a list has the word of `length` characters; blanks around an item are no part of it */
int has_word(const char *list, char separator, const char *word, size_t length);

/* The value of a variable of the job, NULL where it has none; valid until one is set or unset */
const char *job_variable(spank_t sp, const char *name);

/* 0, also where the user's own counts before a default; -1 where it cannot be set. With `vendor` it is noted */
int set_variable(spank_t sp, const char *name, const char *value, int overwrite, int vendor);

/* Adds a word to NO_PROXY or no_proxy, or one in front of PYTHONPATH for those who asked for it; noted; 0 or -1 */
int add_word(spank_t sp, const char *name, const char *word);

/* Takes away what was noted in the job or step around this one */
void take_back(spank_t sp);

#pragma GCC visibility pop
#endif
