"""A tiny task and a server for it, with TLS: prints "ready INVITATION", then a line a round.

Usage: python serve.py FOLDER. Ends when its stdin does.
"""

import sys
import threading
from pathlib import Path

from fedvoice.algorithm.rounds import RoundState
from fedvoice.model_export.config import StreamingConfig
from fedvoice.model_export.kinds.ctc import CtcConfig
from fedvoice.model_export.kinds.encoder import EncoderConfig
from fedvoice.model_export.package import export_task
from fedvoice.server.app import AggregationServer
from fedvoice.server.config import ServerConfig
from fedvoice.server.security.invite import make_invitations
from fedvoice.server.store.ledger import round_rows
from tests.android.tasks import tiny_config

folder = Path(sys.argv[1])
streaming = {
    "model": CtcConfig(encoder=EncoderConfig(layers=1, hidden_size=8)),
    "streaming": StreamingConfig(frames=4, rows=1),
}
task = export_task(tiny_config().model_copy(update=streaming), folder / "task").package
config = ServerConfig.model_validate(
    {
        "bind": "127.0.0.1:0",
        "cohort_size": 1,
        "rounds": 50,
        "selection": "first",
        "retry": {"least_secs": 0.1, "most_secs": 0.2},
    }
)
told = threading.Lock()


def tell(state: RoundState) -> None:
    with told:
        for row in round_rows(folder / "store"):
            if row.round == state.rules.number:
                print(f"round {row.round} {row.status} {row.clients} {row.examples}", flush=True)


server = AggregationServer(config, task, folder / "store", listener=tell)
server.start()
print("ready", make_invitations(folder / "store")[0].encode(), flush=True)
sys.stdin.read()
server.stop(grace_secs=0.2)
