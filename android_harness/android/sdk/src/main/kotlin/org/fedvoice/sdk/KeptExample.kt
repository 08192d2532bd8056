package org.fedvoice.sdk

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.store.ExampleStore
import org.fedvoice.core.store.Source
import org.fedvoice.core.store.Split
import org.fedvoice.core.store.StoredExample
import org.fedvoice.core.store.readSound
import kotlin.math.roundToInt

/**
 * One utterance that the phone holds, for the person who said it.
 *
 * @property addedSecs Unix time
 * @property rounds in which it was learnt from, in order
 * @property isForMeasuring it is never learnt from: the word error rate is measured on it
 */
data class KeptExample(
    val id: Long,
    val transcript: String,
    val source: Source,
    val durationSecs: Double,
    val addedSecs: Double,
    val rounds: List<Int>,
    val isForMeasuring: Boolean,
)

/**
 * What was said, to play it.
 *
 * @property pcm 16 bit samples, one channel
 * @property sampleRate in Hz
 */
class Sound(val pcm: ShortArray, val sampleRate: Int)

/** All examples, newest first. */
internal fun keptExamples(store: ExampleStore): List<KeptExample> {
    val rounds = store.roundsUsed()
    return all(store).sortedByDescending { it.id }.map {
        KeptExample(
            it.id,
            it.transcript,
            it.source,
            it.samples / it.sampleRate.toDouble(),
            it.addedSecs,
            rounds[it.id].orEmpty(),
            it.split == Split.TEST,
        )
    }
}

/** @throws FedvoiceException `not-found`, `missing-audio`, `unreadable-audio` */
internal fun soundOf(store: ExampleStore, id: Long): Sound {
    val example = all(store).firstOrNull { it.id == id } ?: throw noExample(id)
    val (rate, waveform) = readSound(store.audio(example), example.where)
    val pcm =
        ShortArray(waveform.size) {
            (waveform[it] * FULL_SCALE)
                .roundToInt()
                .coerceIn(Short.MIN_VALUE.toInt(), Short.MAX_VALUE.toInt())
                .toShort()
        }
    return Sound(pcm, rate)
}

private fun all(store: ExampleStore): List<StoredExample> = Split.entries.flatMap(store::examples)

private fun noExample(id: Long) =
    FedvoiceException(
        ErrorCode.NOT_FOUND,
        where = "example $id",
        got = "no such example: it was deleted or has expired",
        wanted = "one of those that the phone holds",
        nextStep = "Look at the list of examples again.",
    )

internal const val FULL_SCALE = 32768f
