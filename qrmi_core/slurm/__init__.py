# SPDX-License-Identifier: Apache-2.0
"""What this project knows of Slurm: its commands' answers, its configuration, and the files installed for it."""
