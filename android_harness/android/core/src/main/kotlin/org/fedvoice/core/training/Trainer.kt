package org.fedvoice.core.training

import org.fedvoice.core.model.TrainingPlan
import org.fedvoice.core.random.RandomTable
import org.fedvoice.wire.Statistics

/** How local training ended. */
enum class TrainingStatus {
    COMPLETED,

    /** `shouldStop` said so; the checkpoint holds the progress. */
    STOPPED,

    /** A loss, gradient or weight was NaN or infinite: no update. */
    DIVERGED,
    NO_EXAMPLES,
}

/**
 * What training gives.
 *
 * @property delta weights after - before [P]; null unless completed
 * @property statistics as far as training came
 * @property used indices of the examples trained on
 */
class TrainingResult(
    val status: TrainingStatus,
    val delta: FloatArray?,
    val statistics: Statistics,
    val used: IntArray = IntArray(0),
    val detail: String = "",
)

/**
 * Local training on one phone: e epochs over at most L examples, from weights to a delta.
 *
 * Deterministic: plan, weights, examples, client and round decide every bit of the result, whether
 * or not training was interrupted and resumed in between.
 *
 * @param examples the phone's own; one that raises an error of [UNUSABLE], or fits no bucket, is
 *   skipped and counted
 * @param initial weights [P]; not changed
 * @param checkpoint where to keep progress and to resume from; null: nowhere
 * @param memoryBaselineBytes resident set before the engine was loaded; null: as of now
 * @param shouldStop polled before every step
 * @param clock seconds, monotonic
 * @throws org.fedvoice.core.FedvoiceException `wrong-shape` if [initial] is not of the
 *   engine's task; `bad-config` if the plan trains parameters that the task has not
 */
fun train(
    engine: Engine,
    examples: Examples,
    plan: TrainingPlan,
    initial: FloatArray,
    clientId: String,
    round: Int,
    checkpoint: Checkpoint? = null,
    memory: MemoryMeter = ProcMemory,
    memoryBaselineBytes: Long? = null,
    shouldStop: () -> Boolean = { false },
    clock: () -> Double = { System.nanoTime() / 1e9 },
): TrainingResult {
    val manifest = engine.manifest
    manifest.parameters.check(initial, "initial weights")
    val layers = Layers.of(plan, manifest.parameters, initial)
    val peak = PeakMemory(memory, memoryBaselineBytes)
    val course = drawCourse(manifest, examples, plan, clientId, round)
    if (course.used.isEmpty()) {
        val statistics = Statistics.newBuilder().setSkippedExamples(course.skipped).build()
        val none = TrainingStatus.NO_EXAMPLES
        return TrainingResult(none, null, statistics, detail = "no usable example")
    }
    val key =
        checkpoint
            ?.let {
                checkpointKey(plan, initial, course.sizes, manifest.programDigest, clientId, round)
            }.orEmpty()
    val state = checkpoint?.load(key, initial.size) ?: ClientState.start(initial, plan)
    val gradients = Gradients(engine, examples, course, plan, layers)

    var status = TrainingStatus.COMPLETED
    var detail = ""
    for (step in course.steps.drop(state.steps)) {
        if (shouldStop()) {
            status = TrainingStatus.STOPPED
            detail = "after ${state.steps} steps"
            break
        }
        val started = clock()
        val loss = gradients.take(step, state)
        val norm = adjustGradient(gradients.gradient, state.weights, initial, plan, layers)
        if (!(loss.isFinite() && norm.isFinite())) {
            status = TrainingStatus.DIVERGED
            detail = "loss ${shown(loss)}, gradient norm ${shown(norm)} at step ${state.steps}"
            break
        }
        sgdStep(state, gradients.gradient, norm, plan)
        state.lossSum += loss * step.batch.size
        state.examplesSeen += step.batch.size
        state.trainSecs += clock() - started
        peak.sample()
        val more = state.steps < course.steps.size
        if (checkpoint != null && more && checkpoint.due()) checkpoint.save(key, state)
    }
    state.peakMemoryBytes = maxOf(state.peakMemoryBytes, peak.growthBytes())
    if (status == TrainingStatus.STOPPED) checkpoint?.save(key, state)

    val statistics = statisticsOf(engine, course, plan, state)
    if (status != TrainingStatus.COMPLETED) {
        return TrainingResult(status, null, statistics, course.used, detail)
    }
    // The weights become the delta: nobody needs them any more.
    val delta = state.weights.also { Flat.subtract(it, initial) }
    val norm = boundUpdate(delta, plan, layers)
    if (!norm.isFinite()) {
        val diverged = TrainingStatus.DIVERGED
        return TrainingResult(diverged, null, statistics, course.used, "delta norm ${shown(norm)}")
    }
    return TrainingResult(status, delta, statistics, course.used, detail)
}

/** The losses and gradients of a course's steps, in vectors that are made once. */
private class Gradients(
    private val engine: Engine,
    private val examples: Examples,
    private val course: Course,
    plan: TrainingPlan,
    private val layers: Layers,
) {
    /** Of the last step taken [P]. */
    val gradient = FloatArray(engine.manifest.parameters.totalSize)
    private val part = if (course.accumulates) FloatArray(gradient.size) else null

    // The gradient's vector serves for the noisy weights, too, unless several calls read them.
    private val noisy =
        when {
            plan.fvnStd == 0.0 -> null
            part == null -> gradient
            else -> FloatArray(gradient.size)
        }
    private val normals = if (plan.fvnStd > 0) RandomTable.normals(plan.seed) else null
    private val uniforms =
        if (course.drawOffsets.isEmpty()) null else RandomTable.uniforms(plan.seed)
    private val batches = BatchMaker(engine.manifest)

    /** Mean loss over a step's batch; its gradient from as many calls as the batch needs. */
    fun take(step: Step, state: ClientState): Double {
        val weights = noisy ?: state.weights
        if (noisy != null && normals != null) {
            noisyWeights(state.weights, layers, normals, course.noiseOffsets[state.steps], noisy)
        }
        var loss = 0.0
        var drawOffset = course.drawOffsets.getOrElse(state.steps) { 0 }
        for ((place, call) in step.calls.withIndex()) {
            val batch = batchOf(step, call)
            uniforms?.read(drawOffset, batch.draws)
            drawOffset += call.bucket.draws
            val target = if (place == 0) gradient else checkNotNull(part)
            loss += engine.step(call.bucket, weights, batch, target)
            if (place > 0) Flat.addScaled(gradient, target, 1.0)
        }
        return loss
    }

    private fun batchOf(step: Step, call: MicroBatch): Batch {
        val bins = engine.manifest.features.melBins
        val rows = call.rows.map { examples[course.used[it]] }
        val weight = (1.0 / step.batch.size).toFloat()
        return batches.make(rows, call.bucket, weight) { features, row, offset ->
            val frames = rows[row].frames
            course.masks.apply(features, offset, frames, bins, step.epoch, call.rows[row])
        }
    }
}

private val Course.accumulates: Boolean get() = steps.any { it.calls.size > 1 }

private fun statisticsOf(
    engine: Engine,
    course: Course,
    plan: TrainingPlan,
    state: ClientState,
): Statistics {
    val manifest = engine.manifest
    val weightsBytes = manifest.parameters.weightsBytes
    val plannedBytes =
        trainingMemoryBytes(
            manifest,
            optimizerStateBytes = optimizerStateBytes(weightsBytes, plan, course.accumulates),
            arenaBytes = course.buckets.maxOf { manifest.buckets[it].stepArenaBytes },
        )
    return Statistics
        .newBuilder()
        .setExamples(course.used.size)
        .setSteps(state.steps)
        .setLoss(state.lossSum / maxOf(1, state.examplesSeen))
        .setTrainSecs(state.trainSecs)
        .setPeakMemoryBytes(state.peakMemoryBytes)
        .setPlannedMemoryBytes(plannedBytes)
        .setSkippedExamples(course.skipped)
        .build()
}

/** As Python prints a number that is not finite. */
private fun shown(value: Double): String =
    when {
        value.isNaN() -> "nan"
        value.isInfinite() -> if (value > 0) "inf" else "-inf"
        else -> value.toString()
    }
