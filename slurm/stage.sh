#!/usr/bin/env bash
# One stage of DALI's chain as a job: sbatch slurm/stage.sh TARGET [VARIABLE=VALUE ...], targets as in dali.mk.
# Partition, account, GPUs and time are the cluster's: give them to sbatch (SBATCH_PARTITION ...) or change them here.
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=9
#SBATCH --time=20:00:00
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.out
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
# every task runs make, whose train.py finds the other ranks through SLURM
srun make --no-print-directory "$@"
