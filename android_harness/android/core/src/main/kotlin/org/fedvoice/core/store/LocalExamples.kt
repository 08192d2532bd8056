package org.fedvoice.core.store

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.training.Engine
import org.fedvoice.core.training.Example
import org.fedvoice.core.training.Examples
import org.fedvoice.core.training.normaliseFeatures

/** Examples most recently used, at most [maxBytes] of features. */
class FeatureCache(private val maxBytes: Long = 32L shl 20) {
    private val examples = LinkedHashMap<Long, Example>(INITIAL, LOAD, true)

    /** Bytes of the features held. */
    var heldBytes: Long = 0
        private set

    /** The example, if it is still held. */
    fun get(id: Long): Example? = examples[id]

    /** Holds an example; the least recently used ones make room. */
    fun put(id: Long, example: Example) {
        examples.put(id, example)?.let { heldBytes -= bytesOf(it) }
        heldBytes += bytesOf(example)
        val oldest = examples.entries.iterator()
        while (heldBytes > maxBytes && oldest.hasNext()) {
            heldBytes -= bytesOf(oldest.next().value)
            oldest.remove()
        }
    }

    /** Holds nothing: needed when another task's front end takes over. */
    fun clear() {
        examples.clear()
        heldBytes = 0
    }

    private fun bytesOf(example: Example): Long = example.features.size.toLong() * Float.SIZE_BYTES

    private companion object {
        const val INITIAL = 16
        const val LOAD = 0.75f
    }
}

/**
 * Those of a store's rows that the task can use, each decoded when it is indexed.
 *
 * Rows that fit no bucket, have unknown tokens or another sample rate are left out and counted
 * without decoding them: [skipped], and by reason in [reasons].
 */
class LocalExamples(
    private val engine: Engine,
    private val store: ExampleStore,
    rows: List<StoredExample>,
    private val cache: FeatureCache,
) : Examples {
    private val targets = ArrayList<IntArray>()

    /** The usable rows; row i is example i. */
    val rows: List<StoredExample>

    /** How many rows each reason left out; no word of what was said. */
    val reasons: Map<String, Int>

    init {
        val usable = ArrayList<StoredExample>()
        val counts = sortedMapOf<String, Int>()
        for (row in rows) {
            val found = targetsOf(row, engine.manifest)
            if (found.ids != null) {
                usable += row
                targets += found.ids
            } else {
                counts.merge(found.reason, 1, Int::plus)
            }
        }
        this.rows = usable
        reasons = counts
    }

    val skipped: Int get() = reasons.values.sum()

    override val size: Int get() = rows.size

    override fun get(index: Int): Example {
        val row = rows[index]
        cache.get(row.id)?.let { return it }
        val manifest = engine.manifest
        val waveform = readWaveform(store.audio(row), manifest.features, row.where)
        val mel = normaliseFeatures(engine.features(waveform), manifest.features.melBins)
        val example = Example(mel, mel.size / manifest.features.melBins, targets[index])
        cache.put(row.id, example)
        return example
    }
}

private class Found(val ids: IntArray?, val reason: String)

/** Token ids of a row, or why the task cannot use it. */
private fun targetsOf(row: StoredExample, manifest: TaskManifest): Found {
    val settings = manifest.features
    val ids =
        try {
            checkRate(row.sampleRate, settings, row.where)
            manifest.vocabulary.encode(row.transcript)
        } catch (error: FedvoiceException) {
            if (error.code !in UNUSABLE) throw error
            return Found(null, error.code.id)
        }
    val longest = settings.maxSecs * settings.sampleRate
    val frames = if (row.samples <= longest) settings.frames(row.samples.toInt()) else 0
    val fits = frames > 0 && manifest.bucketFor(settings.stackedFrames(frames), ids.size) != null
    return if (fits) Found(ids, "") else Found(null, "no bucket fits")
}

private val UNUSABLE =
    setOf(
        ErrorCode.MISSING_AUDIO,
        ErrorCode.UNREADABLE_AUDIO,
        ErrorCode.WRONG_SAMPLE_RATE,
        ErrorCode.EMPTY_TRANSCRIPT,
        ErrorCode.UNKNOWN_TOKEN,
        ErrorCode.WRONG_SHAPE,
    )
