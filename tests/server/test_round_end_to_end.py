"""A phone's whole session over a real socket: check in, fetch, report, next round."""

from __future__ import annotations

import numpy as np

from fedvoice.protocol.task import load_weights


def test_two_rounds_of_two_phones_move_the_weights_by_the_weighted_mean(lab):
    package = lab.package(size=8)
    server, address = lab.serve(package, rounds=2, cohort_size=2)
    deltas = {"light": np.full(8, 4.0, np.float32), "heavy": np.full(8, -4.0, np.float32)}
    phones = [
        lab.phone(address, "light", train_examples=1),
        lab.phone(address, "heavy", train_examples=3),
    ]
    join = lab.start_phones(phones, lambda phone, _: deltas[phone.client_id])
    assert server.wait_finished(20)
    join()
    # (1 * 4 + 3 * -4) / 4 = -2 a round
    weights = load_weights(server.store_dir / "weights.safetensors", package.manifest.parameters)
    np.testing.assert_array_equal(weights, np.arange(8) - 4.0)
