package org.fedvoice.desktop

import com.google.protobuf.ByteString
import com.google.protobuf.MessageLite
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.boolean
import kotlinx.serialization.json.double
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.long
import org.fedvoice.wire.Blob
import org.fedvoice.wire.Capabilities
import org.fedvoice.wire.CheckInRequest
import org.fedvoice.wire.Chunk
import org.fedvoice.wire.Conditions
import org.fedvoice.wire.EnrolRequest
import org.fedvoice.wire.FetchRequest
import org.fedvoice.wire.ReportHeader
import org.fedvoice.wire.ReportRequest
import org.fedvoice.wire.ReportStatusRequest
import org.fedvoice.wire.Statistics

/** The bytes of what a phone sends, made from named fields; bytes are given as text. */
internal fun wireBytes(question: WireMessage): ByteArray {
    val fields = question.fields
    val message: MessageLite =
        when (question.type) {
            "CheckInRequest" -> {
                checkIn(fields)
            }
            "FetchRequest" -> {
                FetchRequest
                    .newBuilder()
                    .setDigest(fields.text("digest"))
                    .setOffset(fields.long("offset"))
                    .setClientId(fields.text("client_id"))
                    .setAssignmentId(fields.text("assignment_id"))
                    .build()
            }
            "ReportStatusRequest" -> {
                ReportStatusRequest
                    .newBuilder()
                    .setClientId(fields.text("client_id"))
                    .setReportId(fields.text("report_id"))
                    .build()
            }
            "ReportHeader" -> {
                ReportRequest.newBuilder().setHeader(header(fields)).build()
            }
            "Chunk" -> {
                ReportRequest
                    .newBuilder()
                    .setChunk(Chunk.newBuilder().setData(fields.bytes("data")))
                    .build()
            }
            "EnrolRequest" -> {
                EnrolRequest
                    .newBuilder()
                    .setToken(fields.text("token"))
                    .setCertificateRequest(fields.bytes("certificate_request"))
                    .build()
            }
            else -> {
                throw IllegalArgumentException("no message ${question.type}")
            }
        }
    return message.toByteArray()
}

private fun checkIn(fields: JsonObject): CheckInRequest {
    val capabilities = fields.sub("capabilities")
    val conditions = fields.sub("conditions")
    return CheckInRequest
        .newBuilder()
        .setClientId(fields.text("client_id"))
        .setCapabilities(
            Capabilities
                .newBuilder()
                .setRuntimeVersion(capabilities.text("runtime_version"))
                .setProtocolVersion(capabilities.int("protocol_version"))
                .setTrainExamples(capabilities.int("train_examples"))
                .setTestExamples(capabilities.int("test_examples"))
                .addAllOperators(capabilities.texts("operators"))
                .addAllEncodings(capabilities.texts("encodings")),
        ).setConditions(
            Conditions
                .newBuilder()
                .setCharging(conditions.flag("charging"))
                .setIdle(conditions.flag("idle"))
                .setUnmetered(conditions.flag("unmetered"))
                .setBatteryPercent(conditions.int("battery_percent"))
                .setFreeStorageBytes(conditions.long("free_storage_bytes"))
                .setFreeMemoryBytes(conditions.long("free_memory_bytes")),
        ).addAllCachedDigests(fields.texts("cached_digests"))
        .build()
}

private fun header(fields: JsonObject): ReportHeader {
    val payload = fields.sub("payload")
    return ReportHeader
        .newBuilder()
        .setClientId(fields.text("client_id"))
        .setAssignmentId(fields.text("assignment_id"))
        .setReportId(fields.text("report_id"))
        .setRound(fields.int("round"))
        .setPayload(
            Blob
                .newBuilder()
                .setDigest(payload.text("digest"))
                .setSizeBytes(payload.long("size_bytes"))
                .setEncoding(payload.text("encoding")),
        ).setOffset(fields.long("offset"))
        .setStatistics(statistics(fields.sub("statistics")))
        .build()
}

private fun statistics(fields: JsonObject) =
    Statistics
        .newBuilder()
        .setExamples(fields.int("examples"))
        .setSteps(fields.int("steps"))
        .setLoss(fields.double("loss"))
        .setTrainSecs(fields.double("train_secs"))
        .setPeakMemoryBytes(fields.long("peak_memory_bytes"))
        .setPlannedMemoryBytes(fields.long("planned_memory_bytes"))
        .setWordErrors(fields.int("word_errors"))
        .setWords(fields.int("words"))
        .setUtterances(fields.int("utterances"))
        .setSkippedExamples(fields.int("skipped_examples"))
        .setCharErrors(fields.int("char_errors"))
        .setChars(fields.int("chars"))

private fun JsonObject.sub(name: String): JsonObject = getValue(name).jsonObject

private fun JsonObject.value(name: String) = getValue(name).jsonPrimitive

private fun JsonObject.text(name: String): String = value(name).content

private fun JsonObject.bytes(name: String): ByteString = ByteString.copyFromUtf8(text(name))

private fun JsonObject.texts(name: String): List<String> {
    val array: JsonArray = getValue(name).jsonArray
    return array.map { it.jsonPrimitive.content }
}

private fun JsonObject.int(name: String): Int = value(name).int

private fun JsonObject.long(name: String): Long = value(name).long

private fun JsonObject.double(name: String): Double = value(name).double

private fun JsonObject.flag(name: String): Boolean = value(name).boolean
