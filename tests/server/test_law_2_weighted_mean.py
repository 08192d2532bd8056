"""Law 2: weights are n_k over the round's accepted clients, never over the population."""

from __future__ import annotations

import numpy as np

from fedvoice.algorithm.aggregation import Accumulator
from fedvoice.protocol.generated import fedvoice_pb2 as pb
from fedvoice.protocol.task import load_weights
from fedvoice.server.store.ledger import round_rows


def test_law_2_weights_are_examples_of_the_accepted_clients():
    accumulator = Accumulator(2, grid_bits=32)
    accumulator.fold([np.array([1, 8], np.float32)], 1)
    accumulator.fold([np.array([5, 0], np.float32)], 3)
    np.testing.assert_array_equal(accumulator.mean(), [4.0, 2.0])


def test_law_2_clients_that_did_not_report_have_no_weight(lab):
    package = lab.package(size=4)
    server, address = lab.serve(
        package, rounds=1, cohort_size=3, min_fraction=0.3, round_timeout_secs=2.0
    )
    a, b, _silent = phones = [
        lab.phone(address, name, train_examples=100) for name in ("a", "b", "silent")
    ]
    for phone in phones:
        phone.check_in()
    work = {phone.client_id: phone.wait_for_work() for phone in phones}
    assert a.report_delta(work["a"], np.full(4, 1, np.float32), 1).verdict == pb.VERDICT_ACCEPTED
    assert b.report_delta(work["b"], np.full(4, 5, np.float32), 3).verdict == pb.VERDICT_ACCEPTED
    assert server.wait_finished(20)
    (row,) = round_rows(server.store_dir)
    assert (row.status, row.ending, row.clients, row.examples) == ("committed", "timeout", 2, 4)
    # (1 * 1 + 3 * 5) / 4, whatever the silent phone's 100 examples
    weights = load_weights(server.store_dir / "weights.safetensors", package.manifest.parameters)
    np.testing.assert_array_equal(weights, np.arange(4) + 4.0)
