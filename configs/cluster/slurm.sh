#!/usr/bin/env bash
#SBATCH --job-name=masklet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=masklet-%j.log
#
# A Ray cluster of our own on an allocation. From the repository's root, on a disk that all machines
# share:
#
#   sbatch configs/cluster/slurm.sh masklet run --manifest FILE --out URI --set cluster.max_actors=8
#
# max_actors are the GPUs of all machines: those that come after the run has begun are used too.
# A job that is preempted is queued again and goes on where it was.
set -euo pipefail

if [[ -d .venv ]]; then export PATH=$PWD/.venv/bin:$PATH; fi
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN
first=$(hostname -I | cut -d ' ' -f 1) # this script runs on the first machine of the allocation

# shellcheck disable=SC2016  # every machine has a SLURM_NODEID of its own
srun --cpus-per-task="${SLURM_CPUS_ON_NODE:-1}" \
  bash -c 'exec configs/cluster/node.sh "$SLURM_NODEID" "$@"' node "$first" "$@"
