#!/usr/bin/env bash
# DALI's chain as jobs that wait for the jobs whose exports they read: bash slurm/dali.sh [VARIABLE=VALUE ...]
# Variables are those of dali.mk: SIZE=paper, SEEDS=3, QUICK=1. DRY=1 in the environment prints the jobs instead.
# A job that fails keeps those after it from starting; the same command again makes what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

job() {  # NAME AFTER TASKS TARGET...: submit, print the job's id
    local name=$1 after=$2 tasks=$3
    shift 3
    local command=(sbatch --parsable --job-name "$name" --ntasks-per-node "$tasks" --gpus-per-node "$tasks")
    [[ -n $after ]] && command+=(--dependency "afterok:$after")
    if [[ -n ${DRY:-} ]]; then
        echo "${command[*]} slurm/stage.sh $* ${variables[*]}" >&2
        echo "$name"
    else
        "${command[@]}" slurm/stage.sh "$@" "${variables[@]}"
    fi
}

variables=("$@")
ask() { make --no-print-directory "${variables[@]}" "$1"; }
seeds=$(ask print-seeds) criteria=$(ask print-criteria)

# the miniature is written here, once: jobs that run side by side would write it twice
[[ -n ${DRY:-} ]] || make --no-print-directory "${variables[@]}" dali-data
tested=()
for suffix in $seeds; do
    prefix=$(job "prefix$suffix" "" 1 "exports/llava_prefix$suffix/provenance.json")
    for criterion in $criteria; do
        aligned=$(job "align_$criterion$suffix" "" 4 "exports/dali_$criterion$suffix/provenance.json")
        captions=$(job "captions_$criterion$suffix" "$prefix:$aligned" 4 \
            "exports/pseudo_captions_$criterion$suffix/captions.csv")
        distilled=$(job "distil_$criterion$suffix" "$captions" 4 "exports/distillation_$criterion$suffix/provenance.json")
        tested+=("$(job "test_$criterion$suffix" "$distilled" 1 "dali-tests-$criterion$suffix")")
    done
done
after=$(IFS=:; echo "${tested[*]}")
job table "$after" 1 dali-table
