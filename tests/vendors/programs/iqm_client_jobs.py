# SPDX-License-Identifier: Apache-2.0
"""IQM's client: what it learns of the server, circuits that it runs, and what it says of jobs that come to nothing."""

import json
import sys
from uuid import UUID, uuid4

from exa.common.errors.iqm_error import IQMError
from iqm.iqm_client import Circuit, CircuitCompilationOptions, CircuitOperation, HeraldingMode, IQMClient

asked = json.load(sys.stdin)
client = IQMClient.from_url()


def circuit(instructions):
    operations = (
        CircuitOperation(name=one["name"], locus=tuple(one["locus"]), args=one["args"]) for one in instructions
    )
    return Circuit(name="random", instructions=tuple(operations))


def refusal(call):
    try:
        call()
    except IQMError as error:
        return type(error).__name__, str(error)


architecture = client.get_dynamic_quantum_architecture()
job = client.submit_circuits(
    [circuit(one) for one in asked["circuits"]],
    shots=asked["shots"],
    options=CircuitCompilationOptions(heralding_mode=HeraldingMode.ZEROS),
)
job.wait_for_completion(polling_interval=0.1)

mapped = client.submit_circuits(
    [
        Circuit(
            name="mapped",
            instructions=(
                CircuitOperation(name="prx", locus=("alice",), args={"angle": 3.141592653589793, "phase": 0.0}),
                CircuitOperation(name="measure", locus=("bob", "alice"), args={"key": "m"}),
            ),
        )
    ],
    qubit_mapping={"alice": architecture.qubits[3], "bob": architecture.qubits[1]},
    shots=3,
)
mapped.wait_for_completion(polling_interval=0.1)

qir = client.submit_circuits(["define void @main()"], shots=1)
qir.wait_for_completion(polling_interval=0.1)

retrieved = client.get_job(job.job_id)
json.dump(
    {
        "name": client.quantum_computer_name,
        "health": client.get_health(),
        "about": client.get_about(),
        "qubits": list(architecture.qubits),
        "connectivity": client.get_static_quantum_architecture().connectivity,
        "calibration_set": str(client.get_calibration_set().observation_set_id),
        "architecture_of": str(architecture.calibration_set_id),
        "job": str(job.job_id),
        "status": job.status,
        "measurements": job.result(),
        "counts": [one.model_dump() for one in job.result_counts()],
        "again": retrieved.result() == job.result(),
        "payload_shots": retrieved.payload().shots,
        "mapped": mapped.result(),
        "failed": [qir.status, [str(error) for error in qir.job_data.errors]],
        "timeslot": refusal(lambda: client.submit_circuits([circuit(asked["circuits"][0])], use_timeslot=True)),
        "cancelled_late": refusal(lambda: client.cancel_job(job.job_id)),
        "unknown": refusal(lambda: client.get_job(UUID(int=7))),
        "metrics": refusal(client.get_quality_metric_set),
        "calibration": refusal(lambda: client.get_dynamic_quantum_architecture(uuid4())),
        "deleted": [client.delete_job(mapped.job_id), refusal(lambda: client.get_job(mapped.job_id))],
    },
    sys.stdout,
    default=str,
)
