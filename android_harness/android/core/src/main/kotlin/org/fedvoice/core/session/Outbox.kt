package org.fedvoice.core.session

import com.google.protobuf.InvalidProtocolBufferException
import org.fedvoice.core.model.Codec
import org.fedvoice.wire.Assignment
import org.fedvoice.wire.ReportHeader
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** A finished piece of work that the server has not acknowledged. */
class PendingReport(val header: ReportHeader, val payload: ByteArray)

/** At most one report. The header is written last: a report with one is complete. */
class Outbox(directory: File) {
    private val headerFile = File(directory, "report.header")
    private val payloadFile = File(directory, "report.payload")

    /** Keeps a report until [clear]; durable when this returns. */
    fun put(report: PendingReport) {
        headerFile.delete()
        writeDurably(payloadFile, report.payload)
        writeDurably(headerFile, report.header.toByteArray())
    }

    /** The report kept, if there is a whole one. */
    fun pending(): PendingReport? =
        try {
            val header = ReportHeader.parseFrom(headerFile.readBytes())
            val payload = payloadFile.readBytes()
            val whole =
                header.payload.sizeBytes == 0L || Codec.digestOf(payload) == header.payload.digest
            if (whole) PendingReport(header, payload) else null
        } catch (_: IOException) {
            null
        }

    /** Forgets the report. */
    fun clear() {
        headerFile.delete()
        payloadFile.delete()
    }
}

/** An assignment and when it came (Unix time): its lease counts from then. */
class HeldAssignment(val assignment: Assignment, val receivedSecs: Double)

/** The assignment in work, so that a killed phone can resume it. */
class AssignmentFile(directory: File) {
    private val file = File(directory, "assignment")

    /** Keeps an assignment; one lost in a power cut costs a lease, so it is not synced. */
    fun put(held: HeldAssignment) {
        val stamp = ByteBuffer.allocate(STAMP_BYTES).order(ByteOrder.LITTLE_ENDIAN)
        stamp.putDouble(held.receivedSecs)
        writeAtomically(file, stamp.array(), held.assignment.toByteArray())
    }

    /** The assignment kept, if there is one. */
    fun get(): HeldAssignment? =
        try {
            val data = file.readBytes()
            if (data.size < STAMP_BYTES) {
                null
            } else {
                val stamp = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).getDouble()
                val rest = data.copyOfRange(STAMP_BYTES, data.size)
                HeldAssignment(Assignment.parseFrom(rest), stamp)
            }
        } catch (_: InvalidProtocolBufferException) {
            null
        } catch (_: IOException) {
            null
        }

    /** Forgets it. */
    fun clear() {
        file.delete()
    }

    private companion object {
        const val STAMP_BYTES = 8
    }
}

/** Which blobs make the model that the phone was last given, for recognition. */
class ModelFile(directory: File) {
    private val file = File(directory, "model")

    /** Notes the manifest, program and weights of an assignment that was installed. */
    fun put(assignment: Assignment) {
        val model =
            Assignment
                .newBuilder()
                .setRound(assignment.round)
                .setManifest(assignment.manifest)
                .setProgram(assignment.program)
                .setWeights(assignment.weights)
                .build()
        writeAtomically(file, model.toByteArray())
    }

    /** The assignment noted, with nothing but its round and its blobs. */
    fun get(): Assignment? =
        try {
            Assignment.parseFrom(file.readBytes())
        } catch (_: IOException) {
            null
        }
}

/** Forgets work that was begun or finished and not sent, in a phone's folder; models stay. */
fun withdrawUnsent(stateDir: File) {
    Outbox(stateDir).clear()
    AssignmentFile(stateDir).clear()
    File(stateDir, CHECKPOINT).delete()
}

internal const val CHECKPOINT = "checkpoint"
