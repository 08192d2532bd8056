package org.fedvoice.core.training

import org.fedvoice.core.model.Bucket
import org.fedvoice.core.model.TaskManifest
import java.io.Closeable

/**
 * What executes a task package's program; one engine belongs to one thread at a time.
 *
 * The counterpart of `protocol/engine.py`. All arrays are row-major float32; P is
 * `manifest.parameters.totalSize`.
 */
interface Engine : Closeable {
    val manifest: TaskManifest

    /**
     * Log-mel [frames * mel_bins] of a waveform [samples] in +-1, not yet normalised. Examples are
     * made by [inputsOf].
     *
     * @throws org.fedvoice.core.FedvoiceException `wrong-shape` if it is shorter than one frame or
     *   longer than the task's `max_secs`; `bad-package` of a task of waveforms
     */
    fun features(waveform: FloatArray): FloatArray

    /**
     * The weighted loss of a batch at [weights] [P]; its gradient is written to [gradient] [P],
     * which may be the same array: the weights are read before.
     *
     * @throws org.fedvoice.core.FedvoiceException `wrong-shape`; `bad-package` if the runtime
     *   refuses the call
     */
    fun step(bucket: Bucket, weights: FloatArray, batch: Batch, gradient: FloatArray): Float

    /**
     * Greedy transcripts as token ids, one array a row.
     *
     * @param features [B * T * stack * mel_bins]; of waveforms a frame is a sample
     * @param frameCounts encoder frames of each row [B]
     */
    fun decode(
        bucket: Bucket,
        weights: FloatArray,
        features: FloatArray,
        frameCounts: LongArray,
    ): List<IntArray>
}

/**
 * What one call of `step` takes, padded to the bucket's shapes.
 *
 * @property features [B * T * stack * mel_bins]
 * @property targets [B * U]
 * @property frameCounts encoder frames [B]
 * @property targetCounts tokens [B]
 * @property exampleWeights [B]; 0 for padding
 * @property draws [D] in [0, 1), as many as the bucket says
 */
class Batch(
    val features: FloatArray,
    val targets: LongArray,
    val frameCounts: LongArray,
    val targetCounts: LongArray,
    val exampleWeights: FloatArray,
    val draws: FloatArray = FloatArray(0),
)

/**
 * One utterance ready for training.
 *
 * @property features normalised [frames * mel_bins], of waveforms [samples]
 * @property targets token ids, never the blank; of a test utterance whose words the task lacks none
 * @property text the normalised transcript, the reference of word errors; empty: [targets] are it
 */
class Example(
    val features: FloatArray,
    val frames: Int,
    val targets: IntArray,
    val text: String = "",
)

/** The usable examples of a phone, each made when it is asked for. */
interface Examples {
    val size: Int

    /**
     * @throws org.fedvoice.core.FedvoiceException `missing-audio`, `unreadable-audio` and the like:
     *   the trainer skips and counts such an example
     */
    operator fun get(index: Int): Example
}
