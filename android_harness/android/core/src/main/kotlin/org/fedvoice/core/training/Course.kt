package org.fedvoice.core.training

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Bucket
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.model.TrainingPlan
import org.fedvoice.core.random.Purpose
import org.fedvoice.core.random.RandomTable
import org.fedvoice.core.random.Stream
import org.fedvoice.core.random.scaled

/** Error codes of examples that are skipped and counted. */
val UNUSABLE: Set<ErrorCode> =
    setOf(
        ErrorCode.MISSING_AUDIO,
        ErrorCode.UNREADABLE_AUDIO,
        ErrorCode.WRONG_SAMPLE_RATE,
        ErrorCode.WRONG_SHAPE,
        ErrorCode.EMPTY_TRANSCRIPT,
        ErrorCode.UNKNOWN_TOKEN,
        ErrorCode.UNSUPPORTED_TEXT,
        ErrorCode.NOT_FINITE,
        ErrorCode.SILENT,
    )

/** One step: the epoch, the positions of its batch, and the calls of the program it needs. */
class Step(val epoch: Int, val batch: IntArray, val calls: List<MicroBatch>)

/**
 * Everything drawn for one client's round of training, step by step, before the first one.
 *
 * It depends on no gradient, so a resumed client draws it again and continues at its step.
 *
 * @property used indices of the examples trained on; all else speaks of positions in this list
 * @property sizes (feature frames, tokens) of each
 * @property buckets the place in the manifest of each one's bucket
 * @property noiseOffsets where each step reads the table of normals; empty without FVN
 * @property drawOffsets where each step reads the table of uniform numbers; empty for a model
 *   without dropout
 * @property skipped examples drawn that cannot be used
 */
class Course(
    val used: IntArray,
    val sizes: List<Pair<Int, Int>>,
    val buckets: IntArray,
    val steps: List<Step>,
    val masks: SpecAugmentMasks,
    val noiseOffsets: IntArray,
    val drawOffsets: IntArray,
    val skipped: Int,
)

/**
 * Draw examples, batches, masks and noise of one client's round.
 *
 * @throws FedvoiceException `bad-config` for masks of waveforms
 */
fun drawCourse(
    manifest: TaskManifest,
    examples: Examples,
    plan: TrainingPlan,
    clientId: String,
    round: Int,
): Course {
    checkMasks(manifest.features, plan)
    val drawn = drawExamples(examples.size, plan, clientId, round)
    val used = mutableListOf<Int>()
    val sizes = mutableListOf<Pair<Int, Int>>()
    val buckets = mutableListOf<Int>()
    for (index in drawn) {
        val example = examples.usable(index) ?: continue
        val bucket = bucketOf(example, manifest) ?: continue
        used += index
        sizes += example.frames to example.targets.size
        buckets += manifest.buckets.indexOf(bucket)
    }
    val places = buckets.toIntArray()
    val steps =
        drawEpochs(places, plan, clientId, round).flatMapIndexed { epoch, batches ->
            batches.map { Step(epoch, it, microBatches(it, places, manifest)) }
        }

    fun offsets(purpose: Purpose, wanted: Boolean): IntArray {
        val count = if (wanted) steps.size else 0
        val words = Stream(plan.seed, clientId, round, purpose).words(count)
        return IntArray(count) { scaled(words[it], RandomTable.SIZE) }
    }
    return Course(
        used = used.toIntArray(),
        sizes = sizes,
        buckets = places,
        steps = steps,
        masks = SpecAugmentMasks.draw(plan, used.size, clientId, round),
        noiseOffsets = offsets(Purpose.NOISE, plan.fvnStd > 0),
        drawOffsets = offsets(Purpose.DRAWS, manifest.buckets.any { it.draws > 0 }),
        skipped = drawn.size - used.size,
    )
}

/** The example, or null if it is one to skip. */
internal fun Examples.usable(index: Int): Example? =
    try {
        this[index]
    } catch (error: FedvoiceException) {
        if (error.code !in UNUSABLE) throw error
        null
    }

internal fun bucketOf(example: Example, manifest: TaskManifest): Bucket? =
    manifest.bucketFor(manifest.features.stackedFrames(example.frames), example.targets.size)
