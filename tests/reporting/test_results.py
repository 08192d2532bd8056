"""What a run leaves behind can be read again, by people and by programs."""

import json

import pytest

from fedvoice.protocol.cost import human_bytes
from fedvoice.protocol.errors import FedvoiceError
from fedvoice.reporting.report import write_report
from fedvoice.reporting.results import Results, read_results
from tests.rounds import a_round


def evaluated(number, wer):
    return a_round(number, wer=wer, heldout_wer=None if wer is None else wer + 2)


RESULTS = Results(
    [evaluated(1, 99.0), a_round(2), evaluated(3, 41.5)],
    {"wer": 41.5, "heldout_wer": 43.5},
    {"name": "<tiny>"},
)


def test_results_round_trip_with_the_promised_keys(tmp_path):
    path = RESULTS.write(tmp_path)
    fields = json.loads(path.read_text())
    assert {"rounds", "final", "config"} <= set(fields)
    assert {
        "round",
        "loss",
        "wer",
        "clients",
        "examples",
        "steps",
        "bytes_down",
        "bytes_up",
        "cfmq_communication_bytes",
        "cfmq_compute_bytes",
        "wall_secs",
    } <= set(fields["rounds"][0])
    assert read_results(tmp_path) == RESULTS


def test_the_report_is_one_page_with_plots_and_both_terms_of_the_cost(tmp_path):
    page = write_report(tmp_path, RESULTS).read_text()
    assert page.count("<svg") == 4
    assert "41.5 %" in page
    assert human_bytes(96e6) in page
    assert human_bytes(6e8) in page
    assert "<tiny>" not in page
    assert "http" not in page.partition("<svg")[0]


def test_a_run_without_rounds_still_has_a_report(tmp_path):
    assert "no round" in write_report(tmp_path, Results([], {}, {})).read_text()


def test_foreign_results_are_refused(tmp_path):
    with pytest.raises(FedvoiceError, match="not-found"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"rounds": [{"round": 1}]}')
    with pytest.raises(FedvoiceError, match="bad-manifest"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (5e13, "50 TB")]
)
def test_bytes_for_people(count, text):
    assert human_bytes(count) == text
