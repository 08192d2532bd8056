package org.fedvoice.core.session

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/**
 * One session in which something was sent or received, for the person whose phone it is. No word
 * of what was said is in it (law 10).
 *
 * @property endedSecs Unix time
 * @property happened id of the outcome (`trained`: an update was accepted), or an error's code
 * @property examples learnt from in an accepted update; 0 otherwise
 */
@Serializable
data class SessionRecord(
    @SerialName("ended_secs") val endedSecs: Double,
    val happened: String,
    val round: Int? = null,
    @SerialName("bytes_up") val bytesUp: Long = 0,
    @SerialName("bytes_down") val bytesDown: Long = 0,
    val examples: Int = 0,
) {
    companion object {
        /** A session without an outcome: [happened] says why. */
        fun of(happened: String, traffic: Traffic, endedSecs: Double): SessionRecord =
            SessionRecord(
                endedSecs,
                happened,
                bytesUp = traffic.bytesUp,
                bytesDown = traffic.bytesDown,
            )

        /** How [outcome] is told. */
        fun of(outcome: Outcome, endedSecs: Double): SessionRecord =
            SessionRecord(
                endedSecs,
                outcome.happened.id,
                outcome.round,
                outcome.bytesUp,
                outcome.bytesDown,
                if (outcome.happened == Happened.TRAINED) outcome.statistics?.examples ?: 0 else 0,
            )
    }
}

/** The last thousand sessions or more, a line of JSON each, `sessions.jsonl`. */
class SessionLog(private val file: File) {
    /** Newest first; a line that a killed process left half is skipped. */
    fun read(): List<SessionRecord> = lines().asReversed().mapNotNull(::parsed)

    /**
     * Adds [record], unless nothing was sent or received in it.
     *
     * @throws IOException if the disk does not take it
     */
    @Synchronized
    fun add(record: SessionRecord) {
        if (record.bytesUp == 0L && record.bytesDown == 0L) return
        file.absoluteFile.parentFile?.mkdirs()
        val before = lines()
        if (before.size >= 2 * MOST_LINES) {
            writeAtomically(file, before.takeLast(MOST_LINES).joinToString("\n").toByteArray())
        }
        // The line's end comes first: it closes one that a killed process left half.
        val line = "\n" + JSON.encodeToString(SessionRecord.serializer(), record)
        FileOutputStream(file, true).use { it.write(line.toByteArray()) }
    }

    private fun lines(): List<String> =
        try {
            file.readLines().filter { it.isNotEmpty() }
        } catch (_: IOException) {
            emptyList()
        }

    private fun parsed(line: String): SessionRecord? =
        try {
            JSON.decodeFromString(SessionRecord.serializer(), line)
        } catch (_: IllegalArgumentException) {
            null
        }

    private companion object {
        const val MOST_LINES = 1000
        val JSON =
            Json {
                encodeDefaults = true
                ignoreUnknownKeys = true
            }
    }
}
