package org.fedvoice.core.model

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.wire.Plan

/** Masks on unstacked log-mel features (Park et al. 2019); all zero: no masking. */
@Serializable
data class SpecAugment(
    @SerialName("time_masks") val timeMasks: Int = 0,
    @SerialName("time_mask_frames") val timeMaskFrames: Int = 0,
    @SerialName("frequency_masks") val frequencyMasks: Int = 0,
    @SerialName("frequency_mask_bins") val frequencyMaskBins: Int = 0,
) {
    init {
        notNegative("spec_augment.time_masks", timeMasks)
        notNegative("spec_augment.time_mask_frames", timeMaskFrames)
        notNegative("spec_augment.frequency_masks", frequencyMasks)
        notNegative("spec_augment.frequency_mask_bins", frequencyMaskBins)
    }

    /** Masks of one example. */
    val masks: Int get() = timeMasks + frequencyMasks
}

/**
 * How a phone trains, as data; the validated form of the message `Plan`.
 *
 * @property localEpochs e
 * @property batchSize b; 0: all local examples in one batch
 * @property dataLimit L, examples used in a round at most, drawn afresh each round; 0: no limit
 * @property clipNorm norm to which the gradient is clipped; 0: no clipping
 * @property fvnStd federated variational noise; 0: none
 * @property maxUpdateNorm a larger delta is scaled down to it; 0: no bound
 * @property clipPerLayer both bounds hold parameter by parameter, each with its share of them
 * @property fvnRelative [fvnStd] is multiplied by the root mean square of each parameter's initial
 *   weights
 * @property trainable prefixes of the names of the parameters that train; empty: all of them
 * @property proxMu mu of FedProx (Li et al. 2018); 0: none
 */
@Serializable
data class TrainingPlan(
    @SerialName("local_epochs") val localEpochs: Int = 1,
    @SerialName("batch_size") val batchSize: Int = 8,
    @SerialName("data_limit") val dataLimit: Int = 0,
    @SerialName("client_rate") val clientRate: Double = 0.3,
    @SerialName("client_momentum") val clientMomentum: Double = 0.0,
    @SerialName("clip_norm") val clipNorm: Double = 5.0,
    @SerialName("fvn_std") val fvnStd: Double = 0.0,
    @SerialName("spec_augment") val specAugment: SpecAugment = SpecAugment(),
    val seed: ULong = 0u,
    @SerialName("update_encoding") val updateEncoding: String = "float32",
    @SerialName("max_update_norm") val maxUpdateNorm: Double = 0.0,
    @SerialName("clip_per_layer") val clipPerLayer: Boolean = false,
    @SerialName("fvn_relative") val fvnRelative: Boolean = false,
    val trainable: List<String> = emptyList(),
    @SerialName("prox_mu") val proxMu: Double = 0.0,
) {
    init {
        require(localEpochs >= 1) { "local_epochs is $localEpochs, wanted at least 1" }
        notNegative("batch_size", batchSize)
        notNegative("data_limit", dataLimit)
        require(clientRate > 0) { "client_rate is $clientRate, wanted more than 0" }
        require(clientMomentum >= 0 && clientMomentum < 1) {
            "client_momentum is $clientMomentum, wanted at least 0 and less than 1"
        }
        require(clipNorm >= 0) { "clip_norm is $clipNorm, wanted at least 0" }
        require(fvnStd >= 0) { "fvn_std is $fvnStd, wanted at least 0" }
        require(maxUpdateNorm >= 0) { "max_update_norm is $maxUpdateNorm, wanted at least 0" }
        require(proxMu >= 0) { "prox_mu is $proxMu, wanted at least 0" }
        require(updateEncoding in Codec.ENCODINGS) {
            "update_encoding is '$updateEncoding', wanted one of ${Codec.ENCODINGS.joinToString()}"
        }
    }

    /**
     * The parameters of [table] that train, in its order.
     *
     * @throws FedvoiceException `bad-config` if one of [trainable] begins no parameter's name
     */
    fun trained(table: ParameterTable): List<ParameterSpec> {
        val names = table.parameters.map { it.name }
        for (prefix in trainable) {
            if (names.none { it.startsWith(prefix) }) {
                throw FedvoiceException(
                    ErrorCode.BAD_CONFIG,
                    where = "the plan, trainable",
                    got = "'$prefix', with which no parameter's name begins",
                    wanted = "prefixes of ${names.joinToString(limit = NAMES_TOLD)}",
                    nextStep = "Take the names from the package's task.json.",
                )
            }
        }
        if (trainable.isEmpty()) return table.parameters
        return table.parameters.filter { trainable.any(it.name::startsWith) }
    }

    companion object {
        private const val NAMES_TOLD = 8

        /**
         * From the wire; unset fields take the defaults above where zero is not a value.
         *
         * @throws FedvoiceException `bad-config` for a value out of its range
         */
        fun fromMessage(plan: Plan): TrainingPlan {
            val usual = TrainingPlan()
            val masks = plan.specAugment
            return try {
                TrainingPlan(
                    localEpochs = plan.localEpochs.takeUnless { it == 0 } ?: usual.localEpochs,
                    batchSize = plan.batchSize,
                    dataLimit = plan.dataLimit,
                    clientRate = plan.clientRate.takeUnless { it == 0.0 } ?: usual.clientRate,
                    clientMomentum = plan.clientMomentum,
                    clipNorm = plan.clipNorm,
                    fvnStd = plan.fvnStd,
                    specAugment =
                        SpecAugment(
                            masks.timeMasks,
                            masks.timeMaskFrames,
                            masks.frequencyMasks,
                            masks.frequencyMaskBins,
                        ),
                    seed = plan.seed.toULong(),
                    updateEncoding = plan.updateEncoding.ifEmpty { usual.updateEncoding },
                    maxUpdateNorm = plan.maxUpdateNorm,
                    clipPerLayer = plan.clipPerLayer,
                    fvnRelative = plan.fvnRelative,
                    trainable = plan.trainableList.toList(),
                    proxMu = plan.proxMu,
                )
            } catch (error: IllegalArgumentException) {
                throw FedvoiceException(
                    ErrorCode.BAD_CONFIG,
                    where = "the round's plan",
                    got = error.message.orEmpty(),
                    wanted = "a plan that this version of fedvoice can follow",
                    nextStep = "Correct the server's plan, or update the app.",
                    cause = error,
                )
            }
        }
    }
}

private fun notNegative(name: String, value: Int) =
    require(value >= 0) { "$name is $value, wanted at least 0" }
