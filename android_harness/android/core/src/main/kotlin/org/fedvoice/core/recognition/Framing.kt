package org.fedvoice.core.recognition

import org.fedvoice.core.model.FeatureSettings

/**
 * Samples to blocks of [frames] feature frames, however they come.
 *
 * A block begins [frames] hops after the one before, and reads as far as its last frame does: its
 * features are those of the whole utterance, frame by frame.
 */
class Framing(private val settings: FeatureSettings, frames: Int) {
    private val step = frames * settings.hopSamples
    private val size = step + settings.fftSize - settings.hopSamples

    /** What makes no block yet. */
    var pending = FloatArray(0)
        private set

    /** Whole blocks, [samples] in +-1 being the next ones. */
    fun accept(samples: FloatArray): List<FloatArray> {
        val held = pending + samples
        val count = if (held.size < size) 0 else (held.size - size) / step + 1
        pending = held.copyOfRange(count * step, held.size)
        return List(count) { held.copyOfRange(it * step, it * step + size) }
    }

    /** Forget what is pending. */
    fun clear() {
        pending = FloatArray(0)
    }
}
