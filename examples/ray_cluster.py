"""Generates the images of a list of prompts on the workers of a Ray cluster, and goes on where an
interrupted run stopped. Without RAY_ADDRESS, the cluster is this machine.

    RAY_ADDRESS=ray://head:10001 python ray_cluster.py prompts.txt images
"""

import sys
from pathlib import Path

import ray

import ttsvar.ray

prompts = [line for line in Path(sys.argv[1]).read_text().splitlines() if line.strip()]
ray.init(include_dashboard=False, log_to_driver=False)
images = ttsvar.ray.generate(
    prompts,
    sys.argv[2],
    seed=1,
    resume=True,
    model="demo",  # or a released model, with weights="/a/folder/that/all/machines/have"
    method="best-of-n",
    n=2,
    cpus=1,  # per worker; gpus=1 for a device each
)
print(f"{len(images)} images in {sys.argv[2]}")
