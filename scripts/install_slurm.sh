#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Debian's packages of Slurm, its accounting (slurmdbd, MariaDB) and munge, for the tests on a private cluster and for
# `make cluster`. Only root can install them; for others, and on other systems, what needs them says so and is left out.
# Services are not needed: each cluster starts daemons of its own.
set -eu
PATH=$PATH:/usr/sbin

missing=
for program in slurmctld slurmd munged sbatch scontrol gcc slurmdbd mariadbd my_print_defaults; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
[ -e /usr/include/slurm/spank.h ] || missing="$missing slurm/spank.h"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Left out:$missing (Slurm is installed by root, on Debian and Ubuntu)"
    exit 0
fi
echo "Installing Slurm and munge"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends \
    slurmctld slurmd slurm-client slurm-wlm-basic-plugins libslurm-dev munge gcc \
    slurmdbd slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core >/dev/null
