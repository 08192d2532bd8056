"""`tensorboard`: event files in FOLDER/tensorboard; `tensorboard --logdir runs` finds them below.

Written by TensorBoard's own package, without TensorFlow and PyTorch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedvoice.reporting.callbacks import RoundEnd
from fedvoice.reporting.results import Results
from fedvoice.reporting.trackers.tracker import Opening, Tracker, demand, final_figures

TENSORBOARD_DIR = "tensorboard"


class TensorBoard(Tracker):
    """Rounds as scalars (the step is the round), settings as text and in the HParams table, facts
    and paths of artefacts as text. folder: instead of the run's own.

    Raises:
        FedvoiceError: `missing-extra`.
    """

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        demand("tensorboard", "tensorboard")
        self._folder = folder
        self._events: Any = None
        self._rounds = 0

    def open(self, opening: Opening) -> None:
        """See `Tracker`. What an earlier process told of rounds that are run again is purged."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = Path(self._folder) if self._folder else opening.folder / TENSORBOARD_DIR
        earlier = folder.is_dir() and any(folder.iterdir())
        self._events = EventFileWriter(str(folder))
        self._rounds = opening.run.done
        if earlier:
            start = SessionLog(status=SessionLog.START)
            step = opening.run.done + 1 if opening.run.done else 0
            event = Event(wall_time=time.time(), step=step, session_log=start)
            self._events.add_event(event)
        rows = [f"|{name}|{str(value)[:200]}|" for name, value in opening.settings.items()]
        self._text("settings", "\n".join(["|name|value|", "|---|---|", *rows]))
        if opening.facts:
            self._text("facts", "\n\n".join(opening.facts))
        self._settings(opening)
        self._events.flush()

    def write(self, end: RoundEnd, figures: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._rounds = end.result.round
        self._scalars(figures)

    def close(self, results: Results, files: list[Path], weights: Path | None) -> None:
        """See `Tracker`."""
        self._scalars(final_figures(results))
        paths = [*files, *([weights] if weights is not None else [])]
        self._text("artefacts", "\n\n".join(str(path) for path in paths))
        self._events.close()

    def _scalars(self, figures: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._add(Summary(value=values))
        self._events.flush()

    def _text(self, name: str, markdown: str) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        value = Summary.Value(
            tag=name,
            metadata=create_summary_metadata(display_name=name, description=""),
            tensor=make_tensor_proto([markdown.encode()], shape=(1,)),
        )
        self._add(Summary(value=[value]))

    def _settings(self, opening: Opening) -> None:
        """The HParams table's row: `tensorboard.plugins.hparams.summary` would need TensorFlow."""
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

        start = SessionStartInfo(group_name=opening.run.name, start_time_secs=time.time())
        for name, value in opening.settings.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[name].number_value = value
            else:
                start.hparams[name].string_value = value
        data = HParamsPluginData(version=0, session_start_info=start)
        plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
        metadata = SummaryMetadata(plugin_data=plugin)
        tag = "_hparams_/session_start_info"
        self._add(Summary(value=[Summary.Value(tag=tag, metadata=metadata)]))

    def _add(self, summary: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=self._rounds, summary=summary)
        self._events.add_event(event)
