"""A phone that is killed for real, with SIGKILL, in the middle of training."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from fedvoice.device_runtime.checkpoint import Checkpoint
from fedvoice.device_runtime.trainer import train
from fedvoice.protocol.plan import TrainingPlan
from tests.device_runtime.tiny import TinyEngine, make_examples, some_weights

ROOT = Path(__file__).resolve().parents[2]
PLAN = TrainingPlan(local_epochs=100, batch_size=2, client_momentum=0.9, fvn_std=0.01)

TRAIN_SLOWLY = """
import sys, time
from pathlib import Path
from fedvoice.device_runtime.checkpoint import Checkpoint
from fedvoice.device_runtime.trainer import train
from tests.device_runtime.test_kill import PLAN
from tests.device_runtime.tiny import TinyEngine, make_examples, some_weights

engine = TinyEngine()
train(engine, make_examples(6), PLAN, some_weights(engine.manifest), client_id="a",
      round_number=1, checkpoint=Checkpoint(Path(sys.argv[1]), every_secs=0),
      should_stop=lambda: time.sleep(0.01) is not None)
"""


def test_kill_minus_9_costs_at_most_one_step(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with subprocess.Popen([sys.executable, "-c", TRAIN_SLOWLY, str(path)], cwd=ROOT) as child:
        while not path.is_file() and child.poll() is None:
            time.sleep(0.01)
        time.sleep(0.1)
        child.kill()
    assert child.returncode == -9

    engine = TinyEngine()
    initial, examples = some_weights(engine.manifest), make_examples(6)
    resumed = train(
        engine,
        examples,
        PLAN,
        initial,
        client_id="a",
        round_number=1,
        checkpoint=Checkpoint(path),
    )
    assert 0 < engine.calls < 300
    whole = train(TinyEngine(), examples, PLAN, initial, client_id="a", round_number=1)
    assert resumed.delta is not None
    assert whole.delta is not None
    assert resumed.delta.tobytes() == whole.delta.tobytes()
