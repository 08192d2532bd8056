from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Work(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORK_UNSPECIFIED: _ClassVar[Work]
    WORK_TRAIN: _ClassVar[Work]
    WORK_EVALUATE: _ClassVar[Work]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_LINE_TOO_SLOW: _ClassVar[Reason]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_ACCEPTED: _ClassVar[Verdict]
    VERDICT_LATE: _ClassVar[Verdict]
    VERDICT_UNKNOWN_ASSIGNMENT: _ClassVar[Verdict]
    VERDICT_WRONG_DIGEST: _ClassVar[Verdict]
    VERDICT_WRONG_SHAPE: _ClassVar[Verdict]
    VERDICT_NOT_FINITE: _ClassVar[Verdict]
    VERDICT_NORM_TOO_LARGE: _ClassVar[Verdict]
    VERDICT_INVALID_STATISTICS: _ClassVar[Verdict]
    VERDICT_NO_SPACE: _ClassVar[Verdict]
    VERDICT_WRONG_OFFSET: _ClassVar[Verdict]
WORK_UNSPECIFIED: Work
WORK_TRAIN: Work
WORK_EVALUATE: Work
REASON_UNSPECIFIED: Reason
REASON_LINE_TOO_SLOW: Reason
VERDICT_UNSPECIFIED: Verdict
VERDICT_ACCEPTED: Verdict
VERDICT_LATE: Verdict
VERDICT_UNKNOWN_ASSIGNMENT: Verdict
VERDICT_WRONG_DIGEST: Verdict
VERDICT_WRONG_SHAPE: Verdict
VERDICT_NOT_FINITE: Verdict
VERDICT_NORM_TOO_LARGE: Verdict
VERDICT_INVALID_STATISTICS: Verdict
VERDICT_NO_SPACE: Verdict
VERDICT_WRONG_OFFSET: Verdict

class EnrolRequest(_message.Message):
    __slots__ = ("token", "certificate_request")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    token: str
    certificate_request: bytes
    def __init__(self, token: _Optional[str] = ..., certificate_request: _Optional[bytes] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("certificate_request",)
    CERTIFICATE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    certificate_request: bytes
    def __init__(self, certificate_request: _Optional[bytes] = ...) -> None: ...

class EnrolReply(_message.Message):
    __slots__ = ("certificate", "authority")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    authority: bytes
    def __init__(self, certificate: _Optional[bytes] = ..., authority: _Optional[bytes] = ...) -> None: ...

class CheckInRequest(_message.Message):
    __slots__ = ("client_id", "capabilities", "conditions", "cached_digests")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    CACHED_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    capabilities: Capabilities
    conditions: Conditions
    cached_digests: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, client_id: _Optional[str] = ..., capabilities: _Optional[_Union[Capabilities, _Mapping]] = ..., conditions: _Optional[_Union[Conditions, _Mapping]] = ..., cached_digests: _Optional[_Iterable[str]] = ...) -> None: ...

class Capabilities(_message.Message):
    __slots__ = ("runtime_version", "protocol_version", "train_examples", "test_examples", "operators", "client_rules", "encodings")
    RUNTIME_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    TRAIN_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    TEST_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_RULES_FIELD_NUMBER: _ClassVar[int]
    ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    runtime_version: str
    protocol_version: int
    train_examples: int
    test_examples: int
    operators: _containers.RepeatedScalarFieldContainer[str]
    client_rules: _containers.RepeatedScalarFieldContainer[str]
    encodings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, runtime_version: _Optional[str] = ..., protocol_version: _Optional[int] = ..., train_examples: _Optional[int] = ..., test_examples: _Optional[int] = ..., operators: _Optional[_Iterable[str]] = ..., client_rules: _Optional[_Iterable[str]] = ..., encodings: _Optional[_Iterable[str]] = ...) -> None: ...

class Conditions(_message.Message):
    __slots__ = ("charging", "idle", "unmetered", "battery_percent", "free_storage_bytes", "free_memory_bytes", "overridden", "up_bytes_per_sec", "down_bytes_per_sec")
    CHARGING_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    UNMETERED_FIELD_NUMBER: _ClassVar[int]
    BATTERY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    FREE_STORAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    OVERRIDDEN_FIELD_NUMBER: _ClassVar[int]
    UP_BYTES_PER_SEC_FIELD_NUMBER: _ClassVar[int]
    DOWN_BYTES_PER_SEC_FIELD_NUMBER: _ClassVar[int]
    charging: bool
    idle: bool
    unmetered: bool
    battery_percent: int
    free_storage_bytes: int
    free_memory_bytes: int
    overridden: bool
    up_bytes_per_sec: int
    down_bytes_per_sec: int
    def __init__(self, charging: _Optional[bool] = ..., idle: _Optional[bool] = ..., unmetered: _Optional[bool] = ..., battery_percent: _Optional[int] = ..., free_storage_bytes: _Optional[int] = ..., free_memory_bytes: _Optional[int] = ..., overridden: _Optional[bool] = ..., up_bytes_per_sec: _Optional[int] = ..., down_bytes_per_sec: _Optional[int] = ...) -> None: ...

class CheckInReply(_message.Message):
    __slots__ = ("assignment", "retry")
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    assignment: Assignment
    retry: RetryWindow
    def __init__(self, assignment: _Optional[_Union[Assignment, _Mapping]] = ..., retry: _Optional[_Union[RetryWindow, _Mapping]] = ...) -> None: ...

class RetryWindow(_message.Message):
    __slots__ = ("min_secs", "max_secs", "finished", "reason", "detail")
    MIN_SECS_FIELD_NUMBER: _ClassVar[int]
    MAX_SECS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    min_secs: float
    max_secs: float
    finished: bool
    reason: Reason
    detail: str
    def __init__(self, min_secs: _Optional[float] = ..., max_secs: _Optional[float] = ..., finished: _Optional[bool] = ..., reason: _Optional[_Union[Reason, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("assignment_id", "round", "work", "lease_secs", "plan", "manifest", "program", "weights")
    ASSIGNMENT_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECS_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    assignment_id: str
    round: int
    work: Work
    lease_secs: float
    plan: Plan
    manifest: Blob
    program: Blob
    weights: Blob
    def __init__(self, assignment_id: _Optional[str] = ..., round: _Optional[int] = ..., work: _Optional[_Union[Work, str]] = ..., lease_secs: _Optional[float] = ..., plan: _Optional[_Union[Plan, _Mapping]] = ..., manifest: _Optional[_Union[Blob, _Mapping]] = ..., program: _Optional[_Union[Blob, _Mapping]] = ..., weights: _Optional[_Union[Blob, _Mapping]] = ...) -> None: ...

class Blob(_message.Message):
    __slots__ = ("digest", "size_bytes", "encoding")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    digest: str
    size_bytes: int
    encoding: str
    def __init__(self, digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., encoding: _Optional[str] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("local_epochs", "batch_size", "data_limit", "client_rate", "client_momentum", "clip_norm", "fvn_std", "spec_augment", "seed", "update_encoding", "max_update_norm", "clip_per_layer", "fvn_relative", "trainable", "prox_mu", "client_rule", "client_rule_options")
    LOCAL_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    DATA_LIMIT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_RATE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    FVN_STD_FIELD_NUMBER: _ClassVar[int]
    SPEC_AUGMENT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    UPDATE_ENCODING_FIELD_NUMBER: _ClassVar[int]
    MAX_UPDATE_NORM_FIELD_NUMBER: _ClassVar[int]
    CLIP_PER_LAYER_FIELD_NUMBER: _ClassVar[int]
    FVN_RELATIVE_FIELD_NUMBER: _ClassVar[int]
    TRAINABLE_FIELD_NUMBER: _ClassVar[int]
    PROX_MU_FIELD_NUMBER: _ClassVar[int]
    CLIENT_RULE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_RULE_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    local_epochs: int
    batch_size: int
    data_limit: int
    client_rate: float
    client_momentum: float
    clip_norm: float
    fvn_std: float
    spec_augment: SpecAugment
    seed: int
    update_encoding: str
    max_update_norm: float
    clip_per_layer: bool
    fvn_relative: bool
    trainable: _containers.RepeatedScalarFieldContainer[str]
    prox_mu: float
    client_rule: str
    client_rule_options: str
    def __init__(self, local_epochs: _Optional[int] = ..., batch_size: _Optional[int] = ..., data_limit: _Optional[int] = ..., client_rate: _Optional[float] = ..., client_momentum: _Optional[float] = ..., clip_norm: _Optional[float] = ..., fvn_std: _Optional[float] = ..., spec_augment: _Optional[_Union[SpecAugment, _Mapping]] = ..., seed: _Optional[int] = ..., update_encoding: _Optional[str] = ..., max_update_norm: _Optional[float] = ..., clip_per_layer: _Optional[bool] = ..., fvn_relative: _Optional[bool] = ..., trainable: _Optional[_Iterable[str]] = ..., prox_mu: _Optional[float] = ..., client_rule: _Optional[str] = ..., client_rule_options: _Optional[str] = ...) -> None: ...

class SpecAugment(_message.Message):
    __slots__ = ("time_masks", "time_mask_frames", "frequency_masks", "frequency_mask_bins")
    TIME_MASKS_FIELD_NUMBER: _ClassVar[int]
    TIME_MASK_FRAMES_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_MASKS_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_MASK_BINS_FIELD_NUMBER: _ClassVar[int]
    time_masks: int
    time_mask_frames: int
    frequency_masks: int
    frequency_mask_bins: int
    def __init__(self, time_masks: _Optional[int] = ..., time_mask_frames: _Optional[int] = ..., frequency_masks: _Optional[int] = ..., frequency_mask_bins: _Optional[int] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("digest", "offset", "client_id", "assignment_id", "chunk_bytes")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_ID_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    digest: str
    offset: int
    client_id: str
    assignment_id: str
    chunk_bytes: int
    def __init__(self, digest: _Optional[str] = ..., offset: _Optional[int] = ..., client_id: _Optional[str] = ..., assignment_id: _Optional[str] = ..., chunk_bytes: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ReportStatusRequest(_message.Message):
    __slots__ = ("client_id", "report_id")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    REPORT_ID_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    report_id: str
    def __init__(self, client_id: _Optional[str] = ..., report_id: _Optional[str] = ...) -> None: ...

class ReportStatusReply(_message.Message):
    __slots__ = ("received_bytes", "complete")
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    received_bytes: int
    complete: bool
    def __init__(self, received_bytes: _Optional[int] = ..., complete: _Optional[bool] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: ReportHeader
    chunk: Chunk
    def __init__(self, header: _Optional[_Union[ReportHeader, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ...) -> None: ...

class ReportHeader(_message.Message):
    __slots__ = ("client_id", "assignment_id", "report_id", "round", "payload", "offset", "statistics")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_ID_FIELD_NUMBER: _ClassVar[int]
    REPORT_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    assignment_id: str
    report_id: str
    round: int
    payload: Blob
    offset: int
    statistics: Statistics
    def __init__(self, client_id: _Optional[str] = ..., assignment_id: _Optional[str] = ..., report_id: _Optional[str] = ..., round: _Optional[int] = ..., payload: _Optional[_Union[Blob, _Mapping]] = ..., offset: _Optional[int] = ..., statistics: _Optional[_Union[Statistics, _Mapping]] = ...) -> None: ...

class Statistics(_message.Message):
    __slots__ = ("examples", "steps", "loss", "train_secs", "peak_memory_bytes", "planned_memory_bytes", "word_errors", "words", "utterances", "skipped_examples", "char_errors", "chars")
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    TRAIN_SECS_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PLANNED_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    WORD_ERRORS_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    UTTERANCES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CHAR_ERRORS_FIELD_NUMBER: _ClassVar[int]
    CHARS_FIELD_NUMBER: _ClassVar[int]
    examples: int
    steps: int
    loss: float
    train_secs: float
    peak_memory_bytes: int
    planned_memory_bytes: int
    word_errors: int
    words: int
    utterances: int
    skipped_examples: int
    char_errors: int
    chars: int
    def __init__(self, examples: _Optional[int] = ..., steps: _Optional[int] = ..., loss: _Optional[float] = ..., train_secs: _Optional[float] = ..., peak_memory_bytes: _Optional[int] = ..., planned_memory_bytes: _Optional[int] = ..., word_errors: _Optional[int] = ..., words: _Optional[int] = ..., utterances: _Optional[int] = ..., skipped_examples: _Optional[int] = ..., char_errors: _Optional[int] = ..., chars: _Optional[int] = ...) -> None: ...

class ReportReply(_message.Message):
    __slots__ = ("verdict", "detail", "retry")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    verdict: Verdict
    detail: str
    retry: RetryWindow
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., detail: _Optional[str] = ..., retry: _Optional[_Union[RetryWindow, _Mapping]] = ...) -> None: ...
