package org.fedvoice.core.training

import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.model.TrainingPlan
import org.fedvoice.core.random.RandomTable

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
 * gradients of a batch that needs more than one call of the program; the initial weights that
 * FedProx pulls to. Frozen parameters save nothing: the program computes the whole gradient.
 */
fun optimizerStateBytes(weightsBytes: Long, plan: TrainingPlan, accumulates: Boolean): Long {
    val vectors = listOf(plan.clientMomentum > 0, plan.fvnStd > 0, plan.proxMu > 0, accumulates)
    return weightsBytes * vectors.count { it }
}

/**
 * mu: weights + gradient + optimiser state + planned arena of the largest bucket used, and what of
 * the model is frozen.
 *
 * The flat gradient lies inside the arena and is not added a second time.
 */
fun trainingMemoryBytes(manifest: TaskManifest, optimizerStateBytes: Long, arenaBytes: Long): Long =
    manifest.parameters.weightsBytes + optimizerStateBytes + arenaBytes + manifest.frozenBytes

/**
 * [out] = weights + std * normals read from [table] at [offset]; all [P].
 *
 * std is `fvn_std`, or that of each of [Layers.noise]. FVN is section 4.2.2 of Guliani, Beaufays,
 * Motta (arXiv 2010.15965): the gradient is taken at the noisy point and applied to the clean one.
 */
fun noisyWeights(
    weights: FloatArray,
    layers: Layers,
    table: RandomTable,
    offset: Int,
    out: FloatArray,
) {
    table.read(offset, out)
    for ((part, std) in layers.noise) Flat.scaleAndAdd(out, std, weights, 1.0, part)
}

/**
 * Everything that the plan does to a gradient before it is a step, in place; all [P].
 *
 * In this order: g += prox_mu (weights - initial), taken at the clean weights (FedProx, Li et al.
 * 2018, arXiv 1812.06127, section 3); g = 0 for frozen parameters; per-layer clipping, if the plan
 * has it ([sgdStep] does the global one).
 *
 * @return the norm before clipping; NaN or infinity if a value is
 */
fun adjustGradient(
    gradient: FloatArray,
    weights: FloatArray,
    initial: FloatArray,
    plan: TrainingPlan,
    layers: Layers,
): Double {
    if (plan.proxMu > 0) Flat.addDifference(gradient, weights, initial, plan.proxMu)
    for (part in layers.frozen) gradient.fill(0f, part.from, part.until)
    return if (layers.shares.isEmpty()) {
        Flat.norm(gradient)
    } else {
        clipShares(gradient, plan.clipNorm, layers.shares)
    }
}

/**
 * One step in place: g clipped to `clip_norm`; m = momentum m + g; w -= rate (m or g).
 *
 * @param gradientNorm what [adjustGradient] gave; a gradient clipped per layer is taken as it is
 */
fun sgdStep(state: ClientState, gradient: FloatArray, gradientNorm: Double, plan: TrainingPlan) {
    val factor = if (plan.clipPerLayer) 1.0 else Flat.clipFactor(gradientNorm, plan.clipNorm)
    if (state.momentum == null) {
        Flat.addScaled(state.weights, gradient, -plan.clientRate * factor)
    } else {
        Flat.scaleAndAdd(state.momentum, plan.clientMomentum, gradient, factor)
        Flat.addScaled(state.weights, state.momentum, -plan.clientRate)
    }
    state.steps += 1
}

/**
 * Scale [delta] [P] down to `max_update_norm`, per layer if the plan clips so, in place.
 *
 * @return the norm before; NaN or infinity if a value is
 */
fun boundUpdate(delta: FloatArray, plan: TrainingPlan, layers: Layers): Double {
    // A hair below the bound, so that rounding does not push it over again.
    if (layers.shares.isNotEmpty()) {
        return clipShares(delta, plan.maxUpdateNorm, layers.shares, HAIR)
    }
    val norm = Flat.norm(delta)
    val factor = Flat.clipFactor(norm, plan.maxUpdateNorm)
    if (factor < 1) Flat.scale(delta, factor * (1 - HAIR))
    return norm
}

private const val HAIR = 1e-6
