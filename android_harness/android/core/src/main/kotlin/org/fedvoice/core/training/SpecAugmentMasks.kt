package org.fedvoice.core.training

import org.fedvoice.core.model.SpecAugment
import org.fedvoice.core.model.TrainingPlan
import org.fedvoice.core.random.Purpose
import org.fedvoice.core.random.Stream
import org.fedvoice.core.random.scaled

/**
 * Masks over time and frequency (Park et al. 2019, section 2; no time warping) of a round.
 *
 * All words are drawn at once, uint32 [epochs, examples, masks, 2], so that a mask depends on
 * (epoch, example) only and not on the order of the batches. Time masks come first.
 */
class SpecAugmentMasks(
    private val policy: SpecAugment,
    private val examples: Int,
    private val words: IntArray,
) {
    /**
     * Set the masked stretches of one utterance to 0, the mean, in place.
     *
     * A mask is w wide, w uniform in 0..limit, and starts uniformly where it fits.
     *
     * @param features holds normalised features [frames, bins] from [offset] on
     * @param example position among the examples used
     */
    fun apply(
        features: FloatArray,
        offset: Int,
        frames: Int,
        bins: Int,
        epoch: Int,
        example: Int,
    ) {
        for (mask in 0 until policy.masks) {
            val place = 2 * ((epoch * examples + example) * policy.masks + mask)
            val overTime = mask < policy.timeMasks
            val length = if (overTime) frames else bins
            val limit = if (overTime) policy.timeMaskFrames else policy.frequencyMaskBins
            val width = scaled(words[place], minOf(limit, length) + 1)
            val start = scaled(words[place + 1], length - width + 1)
            if (overTime) {
                features.fill(0f, offset + start * bins, offset + (start + width) * bins)
            } else {
                for (frame in 0 until frames) {
                    val row = offset + frame * bins
                    features.fill(0f, row + start, row + start + width)
                }
            }
        }
    }

    companion object {
        /** Draw the words of all masks of a round. */
        fun draw(
            plan: TrainingPlan,
            examples: Int,
            clientId: String,
            round: Int,
        ): SpecAugmentMasks {
            val policy = plan.specAugment
            val stream = Stream(plan.seed, clientId, round, Purpose.SPEC_AUGMENT)
            val words = stream.words(plan.localEpochs * examples * policy.masks * 2)
            return SpecAugmentMasks(policy, examples, words)
        }
    }
}
