#!/usr/bin/env bash
# One train.py command as a SLURM job: sbatch slurm/train.sh fit --config configs/dali_ot.yaml --config configs/paper/token_alignment.yaml
# Whole chains: make dali SLURM=1. Partition, account, nodes, GPUs and time are the cluster's: give them to sbatch
# (SBATCH_PARTITION ...) or change them here. Five minutes before the time limit the job saves its state and queues
# again; a job that queued again goes on from its own last checkpoint.
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=9
#SBATCH --time=20:00:00
#SBATCH --requeue
#SBATCH --signal=SIGUSR1@300
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.out
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
srun --kill-on-bad-exit=1 "${PYTHON:-.venv/bin/python}" -u train.py "$@" --trainer.num_nodes "${SLURM_NNODES:-1}"
