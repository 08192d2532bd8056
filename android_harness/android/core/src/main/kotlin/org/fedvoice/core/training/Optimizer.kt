package org.fedvoice.core.training

import org.fedvoice.core.model.TrainingPlan
import org.fedvoice.core.random.NormalTable

/**
 * What changes from step to step, all of it in a checkpoint.
 *
 * @property weights [P]
 * @property momentum [P], null without momentum
 * @property lossSum sum over the examples seen of each one's loss
 */
class ClientState(
    val weights: FloatArray,
    val momentum: FloatArray?,
    var steps: Int = 0,
    var examplesSeen: Int = 0,
    var lossSum: Double = 0.0,
    var trainSecs: Double = 0.0,
    var peakMemoryBytes: Long = 0,
) {
    companion object {
        /** Before the first step; [initial] is copied. */
        fun start(initial: FloatArray, plan: TrainingPlan): ClientState =
            ClientState(
                weights = initial.copyOf(),
                momentum = if (plan.clientMomentum > 0) FloatArray(initial.size) else null,
            )
    }
}

/**
 * Bytes beside weights, gradient and arena that local training keeps, part of mu.
 *
 * One vector of the model's size for each of: momentum; the noisy weights of FVN; the sum of
 * gradients of a batch that needs more than one call of the program.
 */
fun optimizerStateBytes(weightsBytes: Long, plan: TrainingPlan, accumulates: Boolean): Long =
    weightsBytes * listOf(plan.clientMomentum > 0, plan.fvnStd > 0, accumulates).count { it }

/**
 * mu: weights + gradient + optimiser state + planned arena of the largest bucket used.
 *
 * The flat gradient lies inside the arena and is not added a second time.
 */
fun trainingMemoryBytes(weightsBytes: Long, optimizerStateBytes: Long, arenaBytes: Long): Long =
    weightsBytes + optimizerStateBytes + arenaBytes

/**
 * [out] = weights + fvn_std * normals read from [table] at [offset]; all [P].
 *
 * FVN is section 4.2.2 of Guliani, Beaufays, Motta (arXiv 2010.15965): the gradient is taken at the
 * noisy point and applied to the clean one.
 */
fun noisyWeights(
    weights: FloatArray,
    plan: TrainingPlan,
    table: NormalTable,
    offset: Int,
    out: FloatArray,
) {
    table.read(offset, out)
    Flat.scaleAndAdd(out, plan.fvnStd, weights, 1.0)
}

/** One step in place: g clipped to `clip_norm`; m = momentum m + g; w -= rate (m or g). */
fun sgdStep(state: ClientState, gradient: FloatArray, gradientNorm: Double, plan: TrainingPlan) {
    val factor = Flat.clipFactor(gradientNorm, plan.clipNorm)
    if (state.momentum == null) {
        Flat.addScaled(state.weights, gradient, -plan.clientRate * factor)
    } else {
        Flat.scaleAndAdd(state.momentum, plan.clientMomentum, gradient, factor)
        Flat.addScaled(state.weights, state.momentum, -plan.clientRate)
    }
    state.steps += 1
}
