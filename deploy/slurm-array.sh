#!/bin/bash
# An array of parts: each job does its share of the units, with nothing but a common disk.
#
#   sbatch --array=1-16 slurm-array.sh recipe.yaml list.txt results
#
# All parts of one run need the same --mem. For networks on GPUs add --gpus-per-task=1.
# Jobs may start late or die; the others do their units. Before its time limit a job stops by itself (exit code 75).
# Submit it again to do what is left; a single part of 16 with: PARTS=16 sbatch --array=7 slurm-array.sh ...
# The units of a part that shows nothing for PATIENCE_S seconds are done by the others.
#SBATCH --job-name=volengine
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=12:00:00
#SBATCH --output=volengine-%A-%a.log
set -euo pipefail
recipe=$1 sources=$2 out=$3

# source /path/to/volengine-env/bin/activate
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
limit=$((SLURM_MEM_PER_NODE * 9 / 10))MiB
parts=${PARTS:-$SLURM_ARRAY_TASK_COUNT} patience=${PATIENCE_S:-600}

volengine run "$recipe" "$sources" --out "$out" \
    --part "$SLURM_ARRAY_TASK_ID/$parts" --memory-limit "$limit" --patience-s "$patience" --take-over
