package org.fedvoice.core.session

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import org.fedvoice.core.training.UsageCounts
import org.fedvoice.wire.Statistics
import java.io.File
import java.io.IOException

/**
 * What a phone has learnt, sent and spent so far: numbers, and names from fixed lists, so that they
 * may be shown and collected (law 10).
 *
 * @property trained updates that the server accepted
 * @property examples sum over the accepted updates of the examples trained on
 * @property trainSecs of accepted updates
 * @property attempts calls to servers, repetitions included
 * @property chargeMicroampHours taken from the battery during sessions; 0 on the charger
 * @property lastHappened id of the last session's outcome
 * @property failures sessions in a row that ended with an error; one that called no server ends
 *   no row
 * @property today what the present day has cost so far
 * @property usage of the examples to train on, when the phone last trained; null before
 */
@Serializable
data class Books(
    val sessions: Int = 0,
    val trained: Int = 0,
    val evaluated: Int = 0,
    val examples: Long = 0,
    val steps: Long = 0,
    @SerialName("train_secs") val trainSecs: Double = 0.0,
    @SerialName("bytes_up") val bytesUp: Long = 0,
    @SerialName("bytes_down") val bytesDown: Long = 0,
    val attempts: Long = 0,
    @SerialName("charge_microamp_hours") val chargeMicroampHours: Long = 0,
    @SerialName("peak_memory_bytes") val peakMemoryBytes: Long = 0,
    @SerialName("last_round") val lastRound: Int = 0,
    @SerialName("last_loss") val lastLoss: Double = 0.0,
    @SerialName("word_errors") val wordErrors: Long = 0,
    val words: Long = 0,
    @SerialName("char_errors") val charErrors: Long = 0,
    val chars: Long = 0,
    @SerialName("last_happened") val lastHappened: String = "",
    @SerialName("last_error") val lastError: String = "",
    @SerialName("updated_secs") val updatedSecs: Double = 0.0,
    val failures: Int = 0,
    val today: DayCosts = DayCosts(),
    val usage: UsageCounts? = null,
) {
    /** With one more session. */
    fun plus(outcome: Outcome, spentMicroampHours: Long, wallSecs: Double): Books {
        val counted = outcome.statistics ?: Statistics.getDefaultInstance()
        val isTraining = outcome.happened == Happened.TRAINED
        val isEvaluation = outcome.happened == Happened.EVALUATED
        return copy(
            sessions = sessions + 1,
            trained = trained + if (isTraining) 1 else 0,
            evaluated = evaluated + if (isEvaluation) 1 else 0,
            examples = examples + if (isTraining) counted.examples else 0,
            steps = steps + if (isTraining) counted.steps else 0,
            trainSecs = trainSecs + if (isTraining) counted.trainSecs else 0.0,
            bytesUp = bytesUp + outcome.bytesUp,
            bytesDown = bytesDown + outcome.bytesDown,
            attempts = attempts + outcome.attempts,
            chargeMicroampHours = chargeMicroampHours + maxOf(0, spentMicroampHours),
            peakMemoryBytes = maxOf(peakMemoryBytes, counted.peakMemoryBytes),
            lastRound = outcome.round ?: lastRound,
            lastLoss = if (isTraining) counted.loss else lastLoss,
            wordErrors = if (isEvaluation) counted.wordErrors.toLong() else wordErrors,
            words = if (isEvaluation) counted.words.toLong() else words,
            charErrors = if (isEvaluation) counted.charErrors.toLong() else charErrors,
            chars = if (isEvaluation) counted.chars.toLong() else chars,
            lastHappened = outcome.happened.id,
            lastError = "",
            updatedSecs = wallSecs,
            failures = if (outcome.attempts > 0) 0 else failures,
            usage = outcome.usage ?: usage,
        )
    }

    /** With one more session that ended with an error. */
    fun plusFailure(code: String, wallSecs: Double, traffic: Traffic = Traffic()): Books =
        copy(
            sessions = sessions + 1,
            bytesUp = bytesUp + traffic.bytesUp,
            bytesDown = bytesDown + traffic.bytesDown,
            attempts = attempts + traffic.attempts,
            lastError = code,
            updatedSecs = wallSecs,
            failures = failures + 1,
        )

    /** One line of JSON. */
    fun toJson(): String = JSON.encodeToString(serializer(), this)

    companion object {
        private val JSON =
            Json {
                encodeDefaults = true
                ignoreUnknownKeys = true
            }

        /** Books from JSON; empty ones for what is none. */
        fun parse(text: String): Books =
            try {
                JSON.decodeFromString(serializer(), text)
            } catch (_: SerializationException) {
                Books()
            }
    }
}

/** The books on the phone's disk, `books.json`. */
class BooksFile(private val file: File) {
    fun read(): Books =
        try {
            Books.parse(file.readText())
        } catch (_: IOException) {
            Books()
        }

    /** Replaces the books by [change] of them. */
    @Synchronized
    fun update(change: (Books) -> Books): Books =
        change(read()).also { writeAtomically(file, it.toJson().toByteArray()) }
}
