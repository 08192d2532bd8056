package org.fedvoice.core.session

import com.google.protobuf.ByteString
import com.google.protobuf.MessageLite
import org.fedvoice.core.FedvoiceException
import org.fedvoice.wire.Blob
import org.fedvoice.wire.CheckInReply
import org.fedvoice.wire.CheckInRequest
import org.fedvoice.wire.Chunk
import org.fedvoice.wire.FetchRequest
import org.fedvoice.wire.ReportReply
import org.fedvoice.wire.ReportRequest
import org.fedvoice.wire.ReportStatusReply
import org.fedvoice.wire.ReportStatusRequest
import java.io.File
import java.io.FileOutputStream
import kotlin.math.min

/**
 * Bytes of messages (with gRPC's frame headers) and calls of one session, also of one that fails.
 *
 * @property attempts calls made, repetitions included
 */
class Traffic {
    @Volatile
    var bytesUp: Long = 0
        private set

    @Volatile
    var bytesDown: Long = 0
        private set

    @Volatile
    var attempts: Int = 0
        private set

    /** One more call is made. */
    fun called() {
        attempts += 1
    }

    fun sent(message: MessageLite) {
        bytesUp += message.serializedSize + FRAME_HEADER_BYTES
    }

    fun received(message: MessageLite) {
        bytesDown += message.serializedSize + FRAME_HEADER_BYTES
    }

    private companion object {
        /** gRPC's own, before every message. */
        const val FRAME_HEADER_BYTES = 5
    }
}

/**
 * The four calls with bounded retries, jitter and resumption, for one session of one phone.
 *
 * Nothing here waits for ever: every call has a deadline, and a call that brings no progress is
 * repeated a bounded number of times. Transfers may take as long as they move: their deadline is
 * the server's own, or the end of the lease.
 *
 * @param line what is known of the phone's line
 * @property traffic where bytes and calls are counted
 */
class ServerCalls(
    private val link: ServerLink,
    private val policy: CallPolicy,
    private val retries: Retries,
    private val line: Line = Line(),
    val traffic: Traffic = Traffic(),
) {
    /**
     * Asks for work.
     *
     * @throws FedvoiceException `server-unreachable`, `server-rejected`, `bad-credentials`; so do
     *   all the others
     */
    suspend fun checkIn(request: CheckInRequest): CheckInReply =
        retrying("CheckIn") { unary(request, link::checkIn) }

    /** How much of a report the server holds. */
    suspend fun reportStatus(request: ReportStatusRequest): ReportStatusReply =
        retrying("ReportStatus") { unary(request, link::reportStatus) }

    /**
     * Completes [partial] to the blob's size, resuming where it ends.
     *
     * @throws LeaseOverException if it has ended
     */
    suspend fun fetch(blob: Blob, partial: File, clientId: String, lease: Lease) {
        val request =
            FetchRequest
                .newBuilder()
                .setDigest(blob.digest)
                .setClientId(clientId)
                .setAssignmentId(lease.assignment.assignmentId)
        val begun = heldBytes(partial, blob)
        measured(Way.DOWN, { heldBytes(partial, blob) - begun }) {
            retrying("Fetch", progress = { heldBytes(partial, blob) }) {
                val offset = heldBytes(partial, blob)
                if (offset == blob.sizeBytes) {
                    partial.createNewFile()
                } else {
                    if (lease.over()) throw LeaseOverException()
                    request.setOffset(offset)
                    val wanted = Chunks.sizeFor(line.bytesPerSec(Way.DOWN).toDouble())
                    val limitSecs = min(policy.longestSecs, lease.leftSecs())
                    fetchRest(request.setChunkBytes(wanted).build(), partial, blob, limitSecs)
                }
            }
        }
    }

    private fun heldBytes(partial: File, blob: Blob): Long {
        if (partial.length() > blob.sizeBytes) partial.delete()
        return partial.length()
    }

    private suspend fun fetchRest(
        request: FetchRequest,
        partial: File,
        blob: Blob,
        limitSecs: Double,
    ) {
        traffic.sent(request)
        var held = request.offset
        FileOutputStream(partial, true).use { stream ->
            unlessSilent(policy.silenceSecs) { moved ->
                link.fetch(request, limitSecs) { chunk ->
                    moved()
                    traffic.received(chunk)
                    if (held + chunk.data.size() > blob.sizeBytes) {
                        throw rejected("Fetch", link.server, "more than ${blob.sizeBytes} bytes")
                    }
                    chunk.data.writeTo(stream)
                    held += chunk.data.size()
                }
            }
        }
        if (held != blob.sizeBytes) {
            throw CallFailure(FailureKind.TRANSIENT, "UNAVAILABLE", "the stream ended early")
        }
    }

    /** Sends a report's bytes from [offset] on. After a broken call: asks where to resume. */
    suspend fun report(report: PendingReport, offset: Long): ReportReply {
        var position: Long? = offset
        var reached = offset

        suspend fun askHeldBytes() = unary(statusRequest(report), link::reportStatus).receivedBytes

        suspend fun resume(): Long {
            position =
                try {
                    askHeldBytes().also { reached = it }
                } catch (_: CallFailure) {
                    null // not known: the line is still away
                }
            return position ?: 0
        }
        return measured(Way.UP, { reached - offset }) {
            retrying("Report", progress = ::resume) {
                // To send all of it again costs more than to ask once more.
                val sending = Sending(report, position ?: askHeldBytes(), line.bytesPerSec(Way.UP))
                try {
                    reportRest(sending)
                } finally {
                    reached = sending.takenBytes
                }
            }
        }
    }

    private suspend fun reportRest(sending: Sending): ReportReply =
        unlessSilent(policy.silenceSecs) { moved ->
            val messages =
                sending.messages { message ->
                    moved()
                    traffic.sent(message)
                }
            link.report(messages, policy.longestSecs).also(traffic::received)
        }

    /** Notes how many bytes [work] has moved, whether it succeeds or not. */
    private suspend fun <T> measured(way: Way, movedBytes: () -> Long, work: suspend () -> T): T {
        val began = System.nanoTime()
        try {
            return work()
        } finally {
            line.note(way, movedBytes(), (System.nanoTime() - began) / NANOS)
        }
    }

    private suspend fun <Q : MessageLite, R : MessageLite> unary(
        request: Q,
        call: suspend (Q, Double) -> R,
    ): R {
        traffic.sent(request)
        return call(request, policy.timeoutSecs).also(traffic::received)
    }

    private suspend fun <T> retrying(
        name: String,
        progress: suspend () -> Long = { 0 },
        attempt: suspend () -> T,
    ): T =
        retries.repeated(name, link.server, progress) {
            traffic.called()
            attempt()
        }
}

/**
 * The messages of one report, from an offset on.
 *
 * @param bytesPerSec of the line so far; 0: not known
 */
private class Sending(
    private val report: PendingReport,
    private val offset: Long,
    bytesPerSec: Long,
) {
    private val chunks = Chunks(bytesPerSec)

    /** How far gRPC has taken the payload. */
    @Volatile
    var takenBytes: Long = offset
        private set

    fun messages(said: (ReportRequest) -> Unit): Iterator<ReportRequest> =
        iterator {
            val header = report.header.toBuilder().setOffset(offset)
            yield(
                ReportRequest
                    .newBuilder()
                    .setHeader(header)
                    .build()
                    .also(said),
            )
            while (takenBytes < report.payload.size) {
                val size = min(chunks.size.toLong(), report.payload.size - takenBytes).toInt()
                val data = ByteString.copyFrom(report.payload, takenBytes.toInt(), size)
                val chunk = Chunk.newBuilder().setData(data)
                val began = System.nanoTime()
                // Comes back here when gRPC wants the next message.
                yield(
                    ReportRequest
                        .newBuilder()
                        .setChunk(chunk)
                        .build()
                        .also(said),
                )
                chunks.took(size, (System.nanoTime() - began) / NANOS)
                takenBytes += size
            }
        }
}

/** The lease has ended in mid-transfer. */
internal class LeaseOverException : Exception("the lease has ended")

private const val NANOS = 1e9

/** What asks how much of [report] the server has. */
internal fun statusRequest(report: PendingReport): ReportStatusRequest =
    ReportStatusRequest
        .newBuilder()
        .setClientId(report.header.clientId)
        .setReportId(report.header.reportId)
        .build()
