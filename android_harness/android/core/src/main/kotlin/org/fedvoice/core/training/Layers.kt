package org.fedvoice.core.training

import org.fedvoice.core.model.ParameterSpec
import org.fedvoice.core.model.ParameterTable
import org.fedvoice.core.model.TrainingPlan
import kotlin.math.sqrt

/** A number for a part of the flat vector. */
data class PartValue(val part: Part, val value: Double)

/**
 * A plan's settings that differ from parameter to parameter, resolved once a round.
 *
 * Unused settings cost nothing: a plan that treats all parameters alike has no frozen parts,
 * no shares, and one part for its noise.
 *
 * @property frozen parameters that do not train
 * @property noise the standard deviation of FVN's noise by part; empty without FVN
 * @property shares sqrt(size_i / P) of each parameter that trains, P floats together; empty unless
 *   the plan clips per layer
 */
class Layers(val frozen: List<Part>, val noise: List<PartValue>, val shares: List<PartValue>) {
    companion object {
        /**
         * What [plan] means for the parameters of [table] at the weights [initial] [P].
         *
         * @throws org.fedvoice.core.FedvoiceException `bad-config` if the plan trains parameters
         *   that the table lacks
         */
        fun of(plan: TrainingPlan, table: ParameterTable, initial: FloatArray): Layers {
            val trained = plan.trained(table)
            val frozen = (table.parameters - trained.toSet()).map { it.part }
            val floats = trained.sumOf { it.size }
            val shares =
                trained.map { PartValue(it.part, sqrt(it.size.toDouble() / floats)) }
            val whole = listOf(PartValue(Part(0, table.totalSize), plan.fvnStd))
            val noise =
                when {
                    plan.fvnStd == 0.0 -> emptyList()
                    !plan.fvnRelative && frozen.isEmpty() -> whole
                    else -> trained.map { noiseOf(it, plan, initial) } + frozen.map(::withoutNoise)
                }
            return Layers(frozen, noise, if (plan.clipPerLayer) shares else emptyList())
        }

        private fun noiseOf(spec: ParameterSpec, plan: TrainingPlan, initial: FloatArray) =
            if (plan.fvnRelative) {
                val rms = Flat.norm(initial, spec.part) / sqrt(spec.size.toDouble())
                PartValue(spec.part, plan.fvnStd * rms)
            } else {
                PartValue(spec.part, plan.fvnStd)
            }

        private fun withoutNoise(part: Part) = PartValue(part, 0.0)
    }
}

/**
 * Scale each part of [vector] [P] down to its share of [bound], in place; 0: no bound.
 *
 * @param margin a part that is scaled ends so much below its bound, relatively
 * @return the norm of all parts together as it was before; NaN or infinity if a value is
 */
fun clipShares(
    vector: FloatArray,
    bound: Double,
    shares: List<PartValue>,
    margin: Double = 0.0,
): Double {
    var total = 0.0
    for ((part, share) in shares) {
        val norm = Flat.norm(vector, part)
        total += norm * norm
        val factor = Flat.clipFactor(norm, bound * share)
        if (factor < 1) Flat.scale(vector, factor * (1 - margin), part)
    }
    return sqrt(total)
}

private val ParameterSpec.part: Part get() = Part(offset, offset + size)
