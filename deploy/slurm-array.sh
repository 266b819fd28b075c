#!/bin/bash
# An array of parts: each job does its share of the units, with nothing but a common disk.
#
#   sbatch --array=1-16 slurm-array.sh recipe.yaml list.txt results
#
# All parts of one run need the same memory. Jobs may start late or die; the others do their units. Before its time limit
# a job stops by itself (exit code 75). Submit it again to do what is left; a single part of 16 with:
# PARTS=16 sbatch --array=7 slurm-array.sh ...
# The units of a part that shows nothing for PATIENCE_S seconds are done by the others.
#SBATCH --job-name=volengine
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=12:00:00
#SBATCH --output=volengine-%A-%a.log
# For networks on GPUs, one for each part, take away the first # of these two lines:
##SBATCH --partition=gpu
##SBATCH --gpus-per-task=1
set -euo pipefail
recipe=$1 sources=$2 out=$3

# source /path/to/volengine-env/bin/activate
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
parts=${PARTS:-$SLURM_ARRAY_TASK_COUNT} patience=${PATIENCE_S:-600}
gpus=${SLURM_GPUS_ON_NODE:-0}
if [ -n "${SLURM_MEM_PER_NODE:-}" ]; then # --mem
    memory=$SLURM_MEM_PER_NODE
elif [ -n "${SLURM_MEM_PER_CPU:-}" ]; then
    memory=$((SLURM_MEM_PER_CPU * SLURM_CPUS_ON_NODE))
else
    memory=$((${SLURM_MEM_PER_GPU:-0} * gpus))
fi
if [ "$memory" -le 0 ]; then
    echo "How much memory does the job have? Give --mem, --mem-per-cpu or --mem-per-gpu, and not 0." >&2
    exit 2
fi
limit=$((memory * 9 / 10))MiB
# A job that asked for a GPU must find one: with auto it would take the CPU for days.
device=${DEVICE:-$([ "$gpus" -gt 0 ] && echo cuda || echo auto)}
if [ "$device" = cuda ] && ! python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "The job asked for a GPU, but PyTorch finds none: is it a build with CUDA? DEVICE=cpu or auto does without." >&2
    exit 2
fi
[ "$gpus" -eq 0 ] || echo "Part $SLURM_ARRAY_TASK_ID on ${SLURMD_NODENAME:-$HOSTNAME}, GPU ${CUDA_VISIBLE_DEVICES:-?}"

volengine run "$recipe" "$sources" --out "$out" --part "$SLURM_ARRAY_TASK_ID/$parts" \
    --memory-limit "$limit" --device "$device" --patience-s "$patience" --take-over
