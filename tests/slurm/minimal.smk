"""Rules that provoke what only a cluster can do to a job, each in seconds."""


rule all:
    input:
        "memory.txt",
        "time.txt",
        expand("gpu-{number}.txt", number=[1, 2]),
        "gpus.txt",


rule memory:
    output:
        "memory.txt",
    resources:
        mem_mb=lambda wildcards, attempt: 500 * attempt,
    shell:
        "echo {resources.mem_mb} >> memory.attempts; "
        "python -c 'import time; held = b\"x\" * 500_000_000; time.sleep(6)'; mv memory.attempts {output}"


rule time:
    output:
        "time.txt",
    shell:
        "if [ -e time.part ]; then mv time.part {output}; else touch time.part; sleep 300; fi"


rule gpu:
    output:
        "gpu-{number}.txt",
    resources:
        gpu=1,
        slurm_extra="'-w node1'",
    shell:
        "touch began.{wildcards.number}; until [ -e began.1 -a -e began.2 ]; do sleep 0.2; done; "  # side by side
        "scontrol show job -d $SLURM_JOB_ID > gpu-{wildcards.number}.job; echo $CUDA_VISIBLE_DEVICES > {output}"


rule gpus:
    output:
        "gpus.txt",
    resources:
        gpu=2,
    shell:
        "scontrol show job $SLURM_JOB_ID > gpus.job; echo $CUDA_VISIBLE_DEVICES > {output}"
