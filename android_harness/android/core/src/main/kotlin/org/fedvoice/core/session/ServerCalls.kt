package org.fedvoice.core.session

import com.google.protobuf.ByteString
import com.google.protobuf.MessageLite
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Codec
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

/** Bytes of messages (with gRPC's frame headers) and calls of one session. */
class Traffic {
    @Volatile
    var bytesUp: Long = 0
        private set

    @Volatile
    var bytesDown: Long = 0
        private set

    var attempts: Int = 0
        internal set

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
 * repeated a bounded number of times.
 */
class ServerCalls(
    private val link: ServerLink,
    private val policy: CallPolicy,
    private val retries: Retries,
) {
    val traffic: Traffic = Traffic()

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

    /** Completes [partial] to the blob's size, resuming where it ends. */
    suspend fun fetch(blob: Blob, partial: File, clientId: String, assignmentId: String) {
        val request =
            FetchRequest
                .newBuilder()
                .setDigest(blob.digest)
                .setClientId(clientId)
                .setAssignmentId(assignmentId)
        retrying("Fetch", progress = { heldBytes(partial, blob) }) {
            val offset = heldBytes(partial, blob)
            if (offset == blob.sizeBytes) {
                partial.createNewFile()
            } else {
                fetchRest(request.setOffset(offset).build(), partial, blob)
            }
        }
    }

    private fun heldBytes(partial: File, blob: Blob): Long {
        if (partial.length() > blob.sizeBytes) partial.delete()
        return partial.length()
    }

    private suspend fun fetchRest(request: FetchRequest, partial: File, blob: Blob) {
        traffic.sent(request)
        var held = request.offset
        FileOutputStream(partial, true).use { stream ->
            link.fetch(request, policy.timeoutSecs) { chunk ->
                traffic.received(chunk)
                if (held + chunk.data.size() > blob.sizeBytes) {
                    throw rejected("Fetch", link.server, "more than ${blob.sizeBytes} bytes")
                }
                chunk.data.writeTo(stream)
                held += chunk.data.size()
            }
        }
        if (held != blob.sizeBytes) {
            throw CallFailure(FailureKind.TRANSIENT, "UNAVAILABLE", "the stream ended early")
        }
    }

    /** Sends a report's bytes from [offset] on. After a broken call: asks where to resume. */
    suspend fun report(report: PendingReport, offset: Long): ReportReply {
        var position: Long? = offset

        suspend fun askHeldBytes() = unary(statusRequest(report), link::reportStatus).receivedBytes
        return retrying(
            "Report",
            progress = {
                position =
                    try {
                        askHeldBytes()
                    } catch (_: CallFailure) {
                        null // not known: the line is still away
                    }
                position ?: 0
            },
        ) {
            // To send all of it again costs more than to ask once more.
            val from = position ?: askHeldBytes()
            link.report(messages(report, from), policy.timeoutSecs).also(traffic::received)
        }
    }

    private fun messages(report: PendingReport, offset: Long): Iterator<ReportRequest> =
        iterator {
            val header = report.header.toBuilder().setOffset(offset)
            yield(
                ReportRequest
                    .newBuilder()
                    .setHeader(header)
                    .build()
                    .also(traffic::sent),
            )
            for (start in offset until report.payload.size step Codec.CHUNK_BYTES.toLong()) {
                val size = min(Codec.CHUNK_BYTES.toLong(), report.payload.size - start).toInt()
                val data = ByteString.copyFrom(report.payload, start.toInt(), size)
                val chunk = Chunk.newBuilder().setData(data)
                yield(
                    ReportRequest
                        .newBuilder()
                        .setChunk(chunk)
                        .build()
                        .also(traffic::sent),
                )
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
            traffic.attempts += 1
            attempt()
        }
}

/** What asks how much of [report] the server has. */
internal fun statusRequest(report: PendingReport): ReportStatusRequest =
    ReportStatusRequest
        .newBuilder()
        .setClientId(report.header.clientId)
        .setReportId(report.header.reportId)
        .build()
