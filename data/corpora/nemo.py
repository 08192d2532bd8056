"""NeMo manifests, plain, or tarred: lines with a `shard_id`, and archives.

Layout (docs.nvidia.com/nemo-framework, Tarred Datasets): `tarred_audio_manifest.json` names
members of `audio_0.tar`, `audio_1.tar`, ..., flat; the shard is the number in an archive's name.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fedvoice.data.corpora.reading import (
    AUDIO_SUFFIXES,
    MaxSecs,
    Seed,
    TestFraction,
    bad_line,
    no_corpus,
    usable,
    with_split,
)
from fedvoice.protocol.errors import ErrorCode, FedvoiceError, make_folder
from fedvoice.protocol.files import json_lines, write_file
from fedvoice.protocol.usage import Reason, Usage
from fedvoice.protocol.utterances import Utterance, iterate_manifest

_RANGE = re.compile(r"(_OP_|[{(\[<])\d+\.\.\d+(_CL_|[})\]>])")
"""A range of shards, as NeMo writes it: `audio__OP_0..511_CL_.tar`, `audio_{0..511}.tar`."""
_MANIFEST = "a NeMo manifest"
Members = dict[tuple[int, str], Path]
"""Extracted files by shard and name without suffix."""


def nemo(
    root: Path,
    *,
    manifest: Annotated[
        str, typer.Option(help="The manifest in ROOT; the only .json or .jsonl if not given.")
    ] = "",
    tars: Annotated[
        str, typer.Option(help="Archives of a tarred manifest; ranges as _OP_0..511_CL_ too.")
    ] = "audio_*.tar",
    audio_out: Annotated[
        Path | None, typer.Option(help="Folder that receives the recordings of the archives.")
    ] = None,
    speaker_pattern: Annotated[
        str, typer.Option(help=r"Speaker from the path, where none is given: '(\d+)-\d+-\d+'.")
    ] = "",
    max_secs: MaxSecs = 0.0,
    test_fraction: TestFraction = 0.1,
    seed: Seed = 0,
    usage: Usage | None = None,
) -> list[Utterance]:
    """A NeMo manifest, checked line by line; ROOT holds it, and the archives of a tarred one.

    A tarred corpus is extracted to `--audio-out`; phones read files, not archives. NeMo's own
    manifests name no speakers: say by `--speaker-pattern` what part of a path does. Lines without
    words, recordings that are not there, and recordings that no line names are counted.

    Example:
    fedvoice data nemo --root tarred --audio-out sounds --out manifest.jsonl

    Args:
        root: a folder.
        speaker_pattern: a regular expression whose first group is the speaker.
        usage: receives the counts of what is passed over.

    Raises:
        FedvoiceError: `not-found`, `bad-manifest`, `bad-config`, `unreadable-audio` for a damaged
            archive, `too-little-usable`, `missing-extra`.
    """
    usage = Usage() if usage is None else usage
    path = _manifest_in(root, manifest)

    def refused(error: FedvoiceError) -> None:
        if error.code is not ErrorCode.EMPTY_TRANSCRIPT:
            raise error
        usage.leave_out(Reason.EMPTY_TRANSCRIPT, error.where)

    found = list(iterate_manifest(path, check_audio=False, refused=refused))
    lines = json_lines(path, wanted=_MANIFEST, next_step="Check the path.")
    shards = {number: fields["shard_id"] for number, fields in lines if "shard_id" in fields}
    if shards:
        found = _extracted(found, shards, path, root, tars, audio_out, usage)
    if speaker_pattern:
        found = _with_speakers(found, speaker_pattern)
    found = [replace(u, source=u.source or "nemo") for u in found]
    brings_one = any(u.split == "test" for u in found)
    return with_split(usable(found, usage, max_secs), brings_one, test_fraction, seed)


def _manifest_in(root: Path, name: str) -> Path:
    if name:
        return root / name
    listed = sorted(p for p in root.glob("*.json*") if p.suffix in (".json", ".jsonl"))
    found = [path for path in listed if not path.name.startswith(".")]
    tarred = [path for path in found if path.name.startswith("tarred_audio_manifest")]
    chosen = tarred if len(tarred) == 1 else found
    if len(chosen) != 1:
        got = ", ".join(path.name for path in found[:5]) or "no manifest"
        raise no_corpus(root, _MANIFEST, f"{root}/manifest.json; name one by --manifest", got)
    return chosen[0]


def _extracted(
    utterances: list[Utterance],
    shards: dict[int, object],
    path: Path,
    root: Path,
    tars: str,
    audio_out: Path | None,
    usage: Usage,
) -> list[Utterance]:
    """The utterances with their recordings as files."""
    archives = sorted(root.glob(_RANGE.sub("*", tars)), key=_shard_of)
    if not archives:
        raise no_corpus(root, "archives of a tarred manifest", f"{root}/{tars}", "none")
    if audio_out is None:
        raise FedvoiceError(
            ErrorCode.BAD_CONFIG,
            where=str(path),
            got="a tarred manifest (its lines have shard_id)",
            wanted="a folder for the recordings in its archives",
            next_step="Name one: --audio-out FOLDER.",
        )
    wanted = {
        (_shard_number(shards.get(u.line), u.where), u.audio_path.stem): u for u in utterances
    }
    members = _extract(archives, set(wanted), audio_out, usage)
    nowhere = audio_out.absolute()
    found = []
    for utterance in utterances:
        key = (
            _shard_number(shards.get(utterance.line), utterance.where),
            utterance.audio_path.stem,
        )
        member = members.get(key, nowhere / utterance.audio_path.name)
        found.append(replace(utterance, audio_path=member))
    return found


def _extract(
    archives: Iterable[Path], wanted: set[tuple[int, str]], folder: Path, usage: Usage
) -> Members:
    """Write the wanted members below `folder`, a folder a shard; those that are there stay."""
    members: Members = {}
    for archive in archives:
        shard = _shard_of(archive)
        into = folder.absolute() / archive.stem
        make_folder(into)
        try:
            with tarfile.open(archive) as opened:
                for member in opened:
                    # A name of the archive's is never a path here.
                    name = Path(member.name).name
                    if not member.isfile() or name.startswith("."):
                        continue
                    if Path(name).suffix.lower() not in AUDIO_SUFFIXES:
                        continue
                    if (shard, Path(name).stem) not in wanted:
                        usage.leave_out(Reason.EMPTY_TRANSCRIPT, f"{archive}: {member.name}")
                        continue
                    target = into / name
                    members[shard, target.stem] = target
                    if target.is_file() and target.stat().st_size == member.size:
                        continue
                    file = opened.extractfile(member)
                    assert file is not None, member.name
                    write_file(target, file.read())
        except (tarfile.TarError, EOFError) as error:
            raise FedvoiceError(
                ErrorCode.UNREADABLE_AUDIO,
                where=str(archive),
                got=str(error) or "the archive ends early",
                wanted="a whole tar archive",
                next_step="Copy it again.",
            ) from error
    return members


def _shard_of(archive: Path) -> int:
    """The last number in an archive's name."""
    numbers = re.findall(r"\d+", archive.stem)
    return int(numbers[-1]) if numbers else 0


def _shard_number(value: object, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    got = "no shard_id" if value is None else f"shard_id {value!r}"
    raise bad_line(where, got, "the number of a shard in every line", "Correct the line.")


def _with_speakers(utterances: list[Utterance], pattern: str) -> list[Utterance]:
    """Speakers by the first group of a pattern found in the path, where a line names none."""
    try:
        found = re.compile(pattern)
        groups = found.groups
    except re.error as error:
        raise _bad_pattern(pattern, str(error)) from error
    if groups != 1:
        raise _bad_pattern(pattern, f"{groups} groups")
    named = []
    for utterance in utterances:
        match = None if utterance.speaker else found.search(str(utterance.audio_path))
        if not utterance.speaker and not match:
            raise _bad_pattern(pattern, f"no match in {utterance.audio_path} ({utterance.where})")
        named.append(replace(utterance, speaker=match[1]) if match else utterance)
    return named


def _bad_pattern(pattern: str, got: str) -> FedvoiceError:
    return FedvoiceError(
        ErrorCode.BAD_CONFIG,
        where=f"--speaker-pattern {pattern}",
        got=got,
        wanted="a regular expression with one group, the speaker, found in each path",
        next_step=r"Try it on a path, for instance '/(\d+)-\d+-\d+'.",
    )
