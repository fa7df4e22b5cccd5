import os
import signal

import pytest
from jsonargparse import Namespace

from callbacks.slurm import job, match_tasks, requeue, requeues
from earshot.errors import InputError


@pytest.fixture(autouse=True)
def slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step of a job: two nodes of four tasks."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in {"JOB_ID": "7", "JOB_NAME": "train", "STEP_ID": "0", "NTASKS": "8", "NNODES": "2"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")  # otherwise the name of the first node
    monkeypatch.delenv("MASTER_PORT", raising=False)


@pytest.mark.parametrize("devices", ["auto", -1, "-1", 4, "4", "0,1,2,3", [0, 1, 2, 3]])
def test_a_task_for_each_device(devices: object) -> None:
    trainer = Namespace(devices=devices, num_nodes=2)
    match_tasks(trainer)
    assert trainer.devices == (4 if devices in ("auto", -1, "-1") else devices)
    assert os.environ["SLURM_NTASKS_PER_NODE"] == "4"


@pytest.mark.parametrize(("devices", "nodes"), [("auto", 1), (4, 1), (1, 2), (8, 2), ("0,1", 2), (8, 1)])
def test_other_numbers_are_refused(devices: object, nodes: int) -> None:
    with pytest.raises(InputError, match=f"found 8 tasks on 2 nodes for --trainer.num_nodes {nodes}"):
        match_tasks(Namespace(devices=devices, num_nodes=nodes))


def test_a_first_node_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch asks for it again and again, for half an hour."""
    monkeypatch.delenv("MASTER_ADDR")
    monkeypatch.setenv("SLURM_NODELIST", "nowhere[3-4].invalid")
    with pytest.raises(InputError, match="expected an address of nowhere3.invalid, the first node of this job"):
        match_tasks(Namespace(devices=4, num_nodes=2))


def test_uneven_tasks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "3")
    with pytest.raises(InputError, match="found 3 tasks on 2 nodes"):
        match_tasks(Namespace(devices="auto", num_nodes=2))


def test_tasks_without_srun_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning waits there for the tasks that nobody started."""
    monkeypatch.delenv("SLURM_STEP_ID")
    with pytest.raises(InputError, match="expected srun to start the 8 tasks"):
        match_tasks(Namespace(devices=4, num_nodes=2))
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_NNODES", "1")
    match_tasks(Namespace(devices=1, num_nodes=1))
    monkeypatch.delenv("SLURM_NTASKS")
    match_tasks(Namespace(devices=3, num_nodes=1))  # one process starts its ranks itself


def test_a_task_of_an_array_has_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert job() == "7"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert job() == "5_3"


def test_without_slurms_command_a_job_is_not_queued_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container."""
    monkeypatch.setenv("PATH", "")
    assert not requeues(signal.SIGTERM)
    assert requeue().startswith("SLURM job 7 could not be queued again: scontrol: No such file")
