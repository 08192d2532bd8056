package org.fedvoice.core.training

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.FeatureSettings
import org.fedvoice.core.store.USUAL_RATES

/**
 * Examples most recently used, at most [maxBytes] of features.
 *
 * Less than the Python phone holds: with it the Java heap stays below 48 MB beside a model of 2.4
 * million parameters (`benchmarks/android_phone.py`).
 */
class FeatureCache(private val maxBytes: Long = 8L shl 20) {
    private val examples = LinkedHashMap<Long, Example>(16, 0.75f, true)

    /** Bytes of the features held. */
    var heldBytes: Long = 0
        private set

    /** The example, if it is still held. */
    fun get(id: Long): Example? = examples[id]

    /** Hold an example; the least recently used ones make room. */
    fun put(id: Long, example: Example) {
        heldBytes += bytesOf(example) - (examples.put(id, example)?.let(::bytesOf) ?: 0)
        val oldest = examples.values.iterator()
        while (heldBytes > maxBytes) {
            heldBytes -= bytesOf(oldest.next())
            oldest.remove()
        }
    }

    /** Empty the cache: needed when another task's front end is used. */
    fun clear() {
        examples.clear()
        heldBytes = 0
    }

    private fun bytesOf(example: Example) = example.features.size.toLong() * Float.SIZE_BYTES
}

/**
 * Those of a store's recordings that the task can use, each decoded when it is asked for.
 *
 * Recordings that fit no bucket, have unknown tokens or no usual sample rate are left out and
 * counted without decoding them, in [usage].
 *
 * @param waveformOf reads a recording's sound at the task's rate, [samples] in +-1; raises
 *   `missing-audio`, `unreadable-audio`
 */
class LocalExamples<R : Recording>(
    private val engine: Engine,
    recordings: List<R>,
    private val cache: FeatureCache,
    private val waveformOf: (R) -> FloatArray,
) : Examples {
    private val usable = mutableListOf<Usable<R>>()

    /** How many are used and how many were left out, by reason. */
    val usage: Usage

    init {
        val count = UsageCount()
        for (recording in recordings) {
            when (val fit = fitOf(recording, engine.manifest)) {
                is Fit.Usable -> {
                    usable += Usable(recording, fit.text, fit.targets)
                    count.use()
                }
                is Fit.Unusable -> {
                    count.leaveOut(fit.reason, recording.where)
                }
            }
        }
        usage = count.result()
    }

    /** How many were left out. */
    val skipped: Int get() = usage.skipped

    /** The usable recordings; number i is example i. */
    val recordings: List<R> get() = usable.map { it.recording }

    override val size: Int get() = usable.size

    override fun get(index: Int): Example {
        val (recording, text, targets) = usable[index]
        cache.get(recording.id)?.let { return it }
        val bins = engine.manifest.features.melBins
        val waveform = waveformOf(recording)
        checkWaveform(waveform, engine.manifest.features, recording.where)
        val features = engine.inputsOf(waveform)
        val example = Example(features, features.size / bins, targets, text)
        return example.also { cache.put(recording.id, it) }
    }
}

/** @throws FedvoiceException `wrong-sample-rate` unless [rate] is usual, or the task's */
fun checkRate(rate: Int, settings: FeatureSettings, where: String) {
    if (rate != settings.sampleRate && rate !in USUAL_RATES) {
        throw FedvoiceException(
            ErrorCode.WRONG_SAMPLE_RATE,
            where = where,
            got = "$rate Hz",
            wanted = "${USUAL_RATES.first} to ${USUAL_RATES.last} Hz",
            nextStep = "Record at a usual rate; the task learns from ${settings.sampleRate} Hz.",
        )
    }
}

/**
 * @throws FedvoiceException `unreadable-audio` when [waveform] is shorter than one feature frame,
 *   `not-finite` when it holds no finite numbers, `silent` when every sample is 0
 */
fun checkWaveform(waveform: FloatArray, settings: FeatureSettings, where: String) {
    val short = waveform.size < settings.fftSize
    if (short || !waveform.all { it.isFinite() }) {
        throw FedvoiceException(
            if (short) ErrorCode.UNREADABLE_AUDIO else ErrorCode.NOT_FINITE,
            where = where,
            got = "${waveform.size} samples" + if (short) "" else ", some not finite",
            wanted = "at least ${settings.fftSize} finite samples, one feature frame",
            nextStep = "Leave the recording out.",
        )
    }
    if (waveform.all { it == 0f }) {
        throw FedvoiceException(
            ErrorCode.SILENT,
            where = where,
            got = "${waveform.size} samples, every one of them 0",
            wanted = "sound",
            nextStep = "Leave the recording out; a muted microphone records such files.",
        )
    }
}

private data class Usable<R>(val recording: R, val text: String, val targets: IntArray)
