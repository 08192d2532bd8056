package org.fedvoice.core.store

import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.File
import java.io.IOException

/**
 * Adds the utterances of a manifest (JSON lines) that the store does not refer to yet; how many.
 *
 * @param data a manifest, or a folder with manifest.jsonl
 * @param speaker whose utterances; empty: everybody's
 * @throws FedvoiceException `not-found`, `bad-manifest`, and what the store raises
 */
fun addManifest(store: ExampleStore, data: File, speaker: String = ""): Int {
    val file = if (data.isDirectory) File(data, "manifest.jsonl") else data
    val lines =
        try {
            file.readLines()
        } catch (error: IOException) {
            throw FedvoiceException(
                ErrorCode.NOT_FOUND,
                where = file.path,
                got = error.message.orEmpty(),
                wanted = "a manifest: one JSON object a line",
                nextStep = "Check the path; `fedvoice data` makes manifests from audio.",
                cause = error,
            )
        }
    val utterances =
        lines.withIndex().filter { it.value.isNotBlank() }.map { (i, line) ->
            utterance(line, "$file:${i + 1}", file.absoluteFile.parentFile)
        }
    val own = utterances.filter { speaker.isEmpty() || it.speaker == speaker }
    if (own.isEmpty()) {
        throw FedvoiceException(
            ErrorCode.BAD_MANIFEST,
            where = "$file, --speaker",
            got = "no utterance of '$speaker'",
            wanted = "one of ${utterances.map { it.speaker }.distinct().sorted().take(SHOWN)}",
            nextStep = "Name a speaker of the manifest.",
        )
    }
    val known = Split.entries.flatMap(store::examples).mapTo(HashSet()) { it.audioFile }
    val new = own.filter { it.audio !in known }
    store.addAll(
        new.map { NewExample(Audio.InFile(it.audio), transcript = it.text, split = it.split) },
    )
    return new.size
}

private class Utterance(val audio: File, val text: String, val speaker: String, val split: Split)

private fun utterance(line: String, where: String, folder: File): Utterance =
    try {
        val fields = Json.parseToJsonElement(line).jsonObject
        // A phone stores whole files: the text of a segment would stand for all of its recording.
        require((fields["offset"] ?: JsonNull) is JsonNull) { "offset, which is not read here" }
        val text = { name: String -> fields.getValue(name).jsonPrimitive }
        val split = (fields["split"] as? JsonPrimitive)?.content
        Utterance(
            audio = folder.resolve(text("audio_filepath").content),
            text = text("text").content,
            speaker = (fields["speaker"] as? JsonPrimitive)?.content.orEmpty(),
            split = if (split == "test") Split.TEST else Split.TRAIN,
        )
    } catch (error: SerializationException) {
        throw badLine(where, error)
    } catch (error: IllegalArgumentException) {
        throw badLine(where, error)
    } catch (error: NoSuchElementException) {
        throw badLine(where, error)
    }

private fun badLine(where: String, error: Exception) =
    FedvoiceException(
        ErrorCode.BAD_MANIFEST,
        where = where,
        got = error.message.orEmpty(),
        wanted = "a JSON object with audio_filepath, text and duration",
        nextStep = "Correct the line.",
        cause = error,
    )

private const val SHOWN = 20
