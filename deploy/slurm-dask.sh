#!/bin/bash
# One Dask cluster inside one allocation: a scheduler, a worker per task, and the command that submits.
#
#   sbatch --ntasks=16 slurm-dask.sh recipe.yaml list.txt results
#
# Scheduler and workers find each other through a file in the output folder. They talk with certificates that the job
# makes and removes: without, everybody on the network could send them code. Before its time limit it stops
# by itself (exit code 75). Submit it again: it goes on.
#SBATCH --job-name=volengine
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=4G
#SBATCH --time=12:00:00
#SBATCH --output=volengine-%j.log
# For networks on GPUs, a worker for each, take away the first # of these two lines, and give --ntasks the number of GPUs:
##SBATCH --partition=gpu
##SBATCH --gpus-per-task=1
set -euo pipefail
recipe=$1 sources=$2 out=$3

# source /path/to/volengine-env/bin/activate
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} VOLENGINE_CORES=${SLURM_CPUS_PER_TASK:-1}
export DASK_DISTRIBUTED__WORKER__MEMORY__TARGET=False DASK_DISTRIBUTED__WORKER__MEMORY__SPILL=False
export DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=1.0 DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=20
export DASK_LOGGING__DISTRIBUTED=warning
export THP_MEM_ALLOC_ENABLE=1 # large pages: a tenth of the time of networks on CPUs
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun no longer takes it over by itself
gpus=${SLURM_GPUS_PER_TASK:-${SLURM_GPUS_ON_NODE:-0}} gpus=${gpus##*:} # gpu:a100:1 -> 1
if [ -n "${SLURM_MEM_PER_CPU:-}" ]; then
    memory=$((SLURM_MEM_PER_CPU * ${SLURM_CPUS_PER_TASK:-1})) # of each task
elif [ -n "${SLURM_MEM_PER_GPU:-}" ] && [ -n "${SLURM_GPUS_PER_TASK:-}" ]; then
    memory=$((SLURM_MEM_PER_GPU * gpus))
else # --mem: tasks of a node share it; the fullest node has this many
    most=$(echo "${SLURM_TASKS_PER_NODE:-1}" | sed 's/([^)]*)//g' | tr , '\n' | sort -n | tail -1)
    memory=$((${SLURM_MEM_PER_NODE:-0} / most))
fi
if [ "$memory" -le 0 ]; then
    echo "How much memory does a task have? Give --mem-per-cpu, --mem-per-gpu or --mem, and not 0." >&2
    exit 2
fi
limit=$((memory * 9 / 10))MiB
# A job that asked for GPUs must find them: with auto its workers would take the CPU for days.
device=${DEVICE:-$([ "$gpus" -gt 0 ] && echo cuda || echo auto)}
if [ "$device" = cuda ] && ! python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "The job asked for a GPU, but PyTorch finds none: is it a build with CUDA? DEVICE=cpu or auto does without." >&2
    exit 2
fi
mkdir -p "$out"
file=$(realpath "$out")/dask-$SLURM_JOB_ID.json
secrets=$(realpath "$out")/.certificates-$SLURM_JOB_ID
workers='' scheduler=''
finish() { # the workers first: without the file each task ends its own, while a killed srun would complain
    rm -f "$file"
    for _ in {1..60}; do
        [ -n "$workers" ] && kill -0 "$workers" 2>/dev/null && sleep 1
    done
    for process in $workers $scheduler; do
        kill "$process" 2>/dev/null && wait "$process" || true
    done
    rm -rf "$secrets"
}
trap finish EXIT

(
    umask 077
    mkdir "$secrets"
    cd "$secrets"
    openssl req -x509 -newkey rsa:3072 -nodes -days 30 -subj "/CN=job $SLURM_JOB_ID" -keyout ca-key.pem -out ca.pem
    openssl req -newkey rsa:3072 -nodes -subj "/CN=volengine" -keyout key.pem -out request.pem
    openssl x509 -req -days 30 -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -out cert.pem
    rm ca-key.pem
) >/dev/null 2>&1
tls=(--tls-ca-file "$secrets/ca.pem" --tls-cert "$secrets/cert.pem" --tls-key "$secrets/key.pem")

dask scheduler --scheduler-file "$file" --protocol tls "${tls[@]}" --port 0 --dashboard-address 127.0.0.1:0 &
scheduler=$!
until [ -s "$file" ]; do sleep 1; done
options=(--nthreads 1 --memory-limit "$limit" --death-timeout 120 --local-directory "${TMPDIR:-/tmp}")
[ "$gpus" -eq 0 ] || options+=(--resources GPU=1) # such workers run networks, one at a time
task='visible=(${CUDA_VISIBLE_DEVICES//,/ })
    if [ ${#visible[@]} -gt 0 ]; then # its own GPU, also where all tasks of a node see all (--gres)
        export CUDA_VISIBLE_DEVICES=${visible[SLURM_LOCALID % ${#visible[@]}]}
        echo "Worker $SLURM_PROCID on $SLURMD_NODENAME, GPU $CUDA_VISIBLE_DEVICES"
    fi
    dask worker --no-dashboard --dashboard-address 127.0.0.1:0 --scheduler-file "$0" "$@" &  # "$@": with tls
    while [ -e "$0" ] && kill -0 $! 2>/dev/null; do sleep 1; done
    if kill $! 2>/dev/null; then wait $! || true; else wait $!; fi'
srun bash -c "$task" "$file" "${tls[@]}" "${options[@]}" &
workers=$!

volengine run "$recipe" "$sources" --out "$out" --take-over --device "$device" --scheduler "$file" \
    --tls-ca "$secrets/ca.pem" --tls-cert "$secrets/cert.pem" --tls-key "$secrets/key.pem"
