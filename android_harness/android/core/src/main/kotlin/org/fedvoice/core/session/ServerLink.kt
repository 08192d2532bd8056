package org.fedvoice.core.session

import org.fedvoice.wire.CheckInReply
import org.fedvoice.wire.CheckInRequest
import org.fedvoice.wire.Chunk
import org.fedvoice.wire.FetchRequest
import org.fedvoice.wire.ReportReply
import org.fedvoice.wire.ReportRequest
import org.fedvoice.wire.ReportStatusReply
import org.fedvoice.wire.ReportStatusRequest

/**
 * The four calls of the service, each made once; [ServerCalls] retries.
 *
 * Every call ends within `timeoutSecs`, throws [CallFailure] when it fails, and is broken off when
 * its coroutine is cancelled. Phones of one process may share a link.
 */
interface ServerLink {
    /** HOST:PORT, for errors. */
    val server: String

    suspend fun checkIn(request: CheckInRequest, timeoutSecs: Double): CheckInReply

    suspend fun reportStatus(request: ReportStatusRequest, timeoutSecs: Double): ReportStatusReply

    /** [onChunk] is called in order, never two at a time; what it throws breaks the call off. */
    suspend fun fetch(request: FetchRequest, timeoutSecs: Double, onChunk: (Chunk) -> Unit)

    /** [messages] is read as fast as the connection takes them, so that few are held at a time. */
    suspend fun report(messages: Iterator<ReportRequest>, timeoutSecs: Double): ReportReply
}

/** What a failed call means for the phone. */
enum class FailureKind {
    /** The connection or the server is disturbed: the same call may work later. */
    TRANSIENT,

    /** The server refused the call. */
    REJECTED,

    /** The server does not accept the phone's identity, or its own is not the expected one. */
    CREDENTIALS,
}

/**
 * A call that failed.
 *
 * @property status gRPC's name of it, for instance UNAVAILABLE
 */
class CallFailure(
    val kind: FailureKind,
    val status: String,
    val text: String,
    cause: Throwable? = null,
) : Exception("$status: $text", cause)
