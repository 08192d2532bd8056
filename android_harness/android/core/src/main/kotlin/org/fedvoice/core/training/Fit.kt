package org.fedvoice.core.training

import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.store.samplesAt

/** What training needs to know of a stored utterance before its sound is read. */
interface Recording {
    val id: Long
    val transcript: String
    val sampleRate: Int

    /** Per channel. */
    val samples: Int

    /** How messages name it: no word of what was said. */
    val where: String

    /** To test with: words that the task lacks are no hindrance, they are recognised wrongly. */
    val testing: Boolean get() = false
}

/**
 * Why [task] cannot use [recording], by the names that Python gives; null: it can. Its sound is not
 * read: what only listening finds (silence, damage) is not known here.
 */
fun reasonAgainst(recording: Recording, task: TaskManifest): String? =
    (fitOf(recording, task) as? Fit.Unusable)?.reason

/** What [task] uses of [recordings] and what it leaves out, without reading their sound. */
fun usageOf(recordings: List<Recording>, task: TaskManifest): Usage {
    val count = UsageCount()
    for (recording in recordings) {
        val reason = reasonAgainst(recording, task)
        if (reason == null) count.use() else count.leaveOut(reason, recording.where)
    }
    return count.result()
}

/** What a task makes of a recording. */
internal sealed interface Fit {
    class Usable(val text: String, val targets: IntArray) : Fit

    class Unusable(val reason: String) : Fit
}

/** The one rule of training and of what an app is told; as `data/fit.py` has it. */
internal fun fitOf(recording: Recording, task: TaskManifest): Fit =
    try {
        checkRate(recording.sampleRate, task.features, recording.where)
        val (text, targets) =
            task.vocabulary.referenceAndTargets(recording.transcript, recording.testing)
        val rate = task.features.sampleRate
        val samples = samplesAt(recording.samples, recording.sampleRate, rate)
        val reason = unfitness(samples, targets.size, task)
        if (reason == null) Fit.Usable(text, targets) else Fit.Unusable(reason)
    } catch (error: FedvoiceException) {
        if (error.code !in UNUSABLE) throw error
        Fit.Unusable(error.code.id)
    }

/** Why no bucket holds a recording; null: one does. */
private fun unfitness(samples: Int, tokens: Int, task: TaskManifest): String? {
    val settings = task.features
    val frames = settings.frames(samples)
    val stacked = settings.stackedFrames(frames)
    return when {
        frames == 0 -> "too-short"
        samples > settings.maxSecs * settings.sampleRate -> "too-long"
        task.bucketFor(stacked, tokens) != null -> null
        stacked > task.buckets.maxOf { it.frames } -> "too-long"
        else -> "too-many-tokens"
    }
}
