package org.fedvoice.core.training

import org.fedvoice.core.model.Bucket
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.model.TrainingPlan
import org.fedvoice.core.random.Purpose
import org.fedvoice.core.random.Stream

/**
 * Indices, ascending, of the at most L examples of [count] that this round uses.
 *
 * Those of a full permutation's first L places, from the data-limit stream. With L = 0 or
 * L >= count all are used and nothing is drawn.
 */
fun drawExamples(count: Int, plan: TrainingPlan, clientId: String, round: Int): IntArray {
    if (plan.dataLimit == 0 || plan.dataLimit >= count) return IntArray(count) { it }
    val stream = Stream(plan.seed, clientId, round, Purpose.DATA_LIMIT)
    return stream.permutation(count).copyOf(plan.dataLimit).also { it.sort() }
}

/**
 * All batches of a round: epochs of batches of positions in [buckets].
 *
 * In each epoch every example comes exactly once: shuffle, sort stably by bucket, cut into batches
 * of b that never span buckets, then permute the batches. b = 0: one batch of all.
 *
 * @param buckets for each example its bucket's place in the manifest
 */
fun drawEpochs(
    buckets: IntArray,
    plan: TrainingPlan,
    clientId: String,
    round: Int,
): List<List<IntArray>> {
    val stream = Stream(plan.seed, clientId, round, Purpose.SHUFFLE)
    return List(plan.localEpochs) { drawEpoch(buckets, plan.batchSize, stream) }
}

private fun drawEpoch(buckets: IntArray, batchSize: Int, stream: Stream): List<IntArray> {
    val order = stream.permutation(buckets.size).sortedBy { buckets[it] }
    if (order.isEmpty()) return emptyList()
    if (batchSize == 0) return listOf(order.toIntArray())
    val batches = mutableListOf<MutableList<Int>>()
    for (example in order) {
        val last = batches.lastOrNull()
        if (last != null && last.size < batchSize && buckets[last[0]] == buckets[example]) {
            last += example
        } else {
            batches += mutableListOf(example)
        }
    }
    return stream.permutation(batches.size).map { batches[it].toIntArray() }
}

/** One call of the program: rows of one bucket, at most its B, as positions among the used. */
class MicroBatch(val bucket: Bucket, val rows: IntArray)

/** Cut one batch into calls of the program, by the buckets' places in the manifest. */
fun microBatches(batch: IntArray, buckets: IntArray, manifest: TaskManifest): List<MicroBatch> =
    batch.map { buckets[it] }.distinct().sorted().flatMap { place ->
        val bucket = manifest.buckets[place]
        batch
            .filter { buckets[it] == place }
            .chunked(bucket.batch)
            .map { MicroBatch(bucket, it.toIntArray()) }
    }

/** Batches padded to their bucket's shapes, in arrays that are used again for the next one. */
class BatchMaker(private val manifest: TaskManifest) {
    private val batches = mutableMapOf<Bucket, Batch>()

    /**
     * Pad at most B [examples], each with loss weight [weight]; the next call for this bucket
     * overwrites the batch.
     *
     * @param change called with (features, row, offset of the row's first frame) once a row is
     *   copied, to mask it
     */
    fun make(
        examples: List<Example>,
        bucket: Bucket,
        weight: Float,
        change: (FloatArray, Int, Int) -> Unit = { _, _, _ -> },
    ): Batch {
        val settings = manifest.features
        val batch = batches.getOrPut(bucket) { empty(bucket) }
        val rowFloats = batch.features.size / bucket.batch
        batch.features.fill(0f)
        batch.targets.fill(0)
        batch.frameCounts.fill(1)
        batch.targetCounts.fill(0)
        batch.exampleWeights.fill(0f)
        for ((row, example) in examples.withIndex()) {
            example.features.copyInto(batch.features, row * rowFloats)
            for ((i, token) in example.targets.withIndex()) {
                batch.targets[row * bucket.labels + i] = token.toLong()
            }
            batch.frameCounts[row] = settings.stackedFrames(example.frames).toLong()
            batch.targetCounts[row] = example.targets.size.toLong()
            batch.exampleWeights[row] = weight
            change(batch.features, row, row * rowFloats)
        }
        return batch
    }

    private fun empty(bucket: Bucket): Batch {
        val settings = manifest.features
        val frames = bucket.frames * settings.stack
        return Batch(
            features = FloatArray(bucket.batch * frames * settings.melBins),
            targets = LongArray(bucket.batch * bucket.labels),
            frameCounts = LongArray(bucket.batch),
            targetCounts = LongArray(bucket.batch),
            exampleWeights = FloatArray(bucket.batch),
            draws = FloatArray(bucket.draws),
        )
    }
}
