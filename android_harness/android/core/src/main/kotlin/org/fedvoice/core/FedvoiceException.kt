package org.fedvoice.core

/** Stable error codes, as in `protocol/errors.py`; `docs/errors.md` explains them. */
enum class ErrorCode(val id: String) {
    BAD_CONFIG("bad-config"),
    BAD_MANIFEST("bad-manifest"),
    MISSING_AUDIO("missing-audio"),
    UNREADABLE_AUDIO("unreadable-audio"),
    WRONG_SAMPLE_RATE("wrong-sample-rate"),
    EMPTY_TRANSCRIPT("empty-transcript"),
    UNKNOWN_TOKEN("unknown-token"),
    UNSUPPORTED_TEXT("unsupported-text"),
    BAD_PACKAGE("bad-package"),
    WRONG_DIGEST("wrong-digest"),
    WRONG_SHAPE("wrong-shape"),
    BAD_ENCODING("bad-encoding"),
    NOT_FINITE("not-finite"),
    SILENT("silent"),
    MISSING_OPERATOR("missing-operator"),
    SERVER_UNREACHABLE("server-unreachable"),
    SERVER_REJECTED("server-rejected"),
    BAD_CREDENTIALS("bad-credentials"),
    NO_SPACE("no-space"),
    NOT_WRITABLE("not-writable"),
    STORE_FULL("store-full"),
    EXISTS("exists"),
    NOT_FOUND("not-found"),
    MISSING_EXTRA("missing-extra"),
}

/**
 * An error: where it happened, what was found, what is valid and what to do next.
 *
 * @property where file, field, address or method concerned
 * @property got what was found there
 * @property wanted what would have been right
 * @property nextStep what the person should do now
 */
class FedvoiceException(
    val code: ErrorCode,
    val where: String,
    val got: String,
    val wanted: String,
    val nextStep: String,
    cause: Throwable? = null,
) : Exception("$where: got $got, wanted $wanted. $nextStep [${code.id}]", cause)
