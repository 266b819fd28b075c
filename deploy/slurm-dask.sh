#!/bin/bash
# One Dask cluster inside one allocation: a scheduler, a worker per task, and the command that submits.
#
#   sbatch --ntasks=16 slurm-dask.sh recipe.yaml list.txt results
#
# Scheduler and workers find each other through a file in the output folder. For GPUs add --gpus-per-task=1.
# Stopped by the time limit? Submit it again: it goes on.
#SBATCH --job-name=volengine
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=4G
#SBATCH --time=12:00:00
#SBATCH --output=volengine-%j.log
set -euo pipefail
recipe=$1 sources=$2 out=$3

# source /path/to/volengine-env/bin/activate
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
export DASK_DISTRIBUTED__WORKER__MEMORY__TARGET=False DASK_DISTRIBUTED__WORKER__MEMORY__SPILL=False
export DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=1.0 DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=20
export DASK_LOGGING__DISTRIBUTED=warning
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun no longer takes it over by itself
limit=$((SLURM_MEM_PER_CPU * ${SLURM_CPUS_PER_TASK:-1} * 9 / 10))MiB
mkdir -p "$out"
file=$(realpath "$out")/dask-$SLURM_JOB_ID.json
trap 'rm -f "$file"; kill $(jobs -p) 2>/dev/null || true' EXIT

dask scheduler --scheduler-file "$file" --port 0 --dashboard-address :0 &
until [ -s "$file" ]; do sleep 1; done
srun dask worker --scheduler-file "$file" --nthreads 1 --memory-limit "$limit" --death-timeout 120 \
    --local-directory "${TMPDIR:-/tmp}" --no-dashboard &

volengine run "$recipe" "$sources" --out "$out" --scheduler "$file"
