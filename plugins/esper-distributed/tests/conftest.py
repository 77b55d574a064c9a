"""Processes that train one network together: forked from the test's, so that none of them imports torch again."""

import multiprocessing
import os
import pickle
import traceback
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.distributed.tensor


def _rank(work, rank, size, store, connection, timeout):
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=size, timeout=timedelta(seconds=timeout)
        )
        answer = work(rank)
    except BaseException as error:
        traceback.print_exc()
        answer = error
    try:
        said = pickle.dumps(answer)
    except Exception:
        said = pickle.dumps(RuntimeError(repr(answer)))
    connection.send_bytes(said)
    connection.close()
    os._exit(0)


@pytest.fixture
def together(tmp_path):
    """Run a function of the rank in several processes; return what each gave or raised, in order."""
    begun = []

    def run(size, work, timeout=60):
        fork = multiprocessing.get_context("fork")
        number = len(begun)
        pipes = []
        for rank in range(size):
            ours, theirs = fork.Pipe(duplex=False)
            process = fork.Process(
                target=_rank, args=(work, rank, size, tmp_path / f"store{number}", theirs, timeout), daemon=True
            )
            process.start()
            theirs.close()
            begun.append(process)
            pipes.append(ours)
        answers = []
        for rank, pipe in enumerate(pipes):
            if not pipe.poll(2 * timeout):
                pytest.fail(f"rank {rank} hangs")
            try:
                answers.append(pickle.loads(pipe.recv_bytes()))
            except EOFError:
                answers.append(None)  # it was killed
        return answers

    torch.set_num_threads(1)
    yield run
    for process in begun:
        process.kill()
        process.join()
