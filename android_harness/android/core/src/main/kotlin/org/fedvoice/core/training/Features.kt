package org.fedvoice.core.training

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.FeatureSettings
import org.fedvoice.core.model.Normalise
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.model.TrainingPlan
import kotlin.math.sqrt

internal const val SMALLEST_DEVIATION = 1e-2

/** Added to a waveform's variance: that of transformers' `Wav2Vec2FeatureExtractor`. */
private const val WAVEFORM_EPSILON = 1e-7

/**
 * What the engine's model is given of a [waveform] [samples] in +-1 at the task's rate, checked by
 * [checkWaveform]: [frames * mel_bins], of kind waveform [samples].
 *
 * @throws FedvoiceException as [Engine.features]
 */
fun Engine.inputsOf(waveform: FloatArray): FloatArray {
    val settings = manifest.features
    if (settings.isWaveform) return normaliseWaveform(waveform, settings.normalise)
    return normaliseFeatures(features(waveform), settings.melBins)
}

/** Samples [samples] as the model's front end wants them; sums are double precision. */
fun normaliseWaveform(waveform: FloatArray, how: Normalise): FloatArray {
    if (how == Normalise.NONE) return waveform
    val mean = waveform.sumOf { it.toDouble() } / waveform.size
    val variance = waveform.sumOf { (it - mean) * (it - mean) } / waveform.size
    val deviation = sqrt(variance + WAVEFORM_EPSILON)
    return FloatArray(waveform.size) { ((waveform[it] - mean) / deviation).toFloat() }
}

/** @throws FedvoiceException `bad-package` for a task whose program has no method `features` */
fun checkLogMel(manifest: TaskManifest) {
    if (!manifest.features.isWaveform) return
    throw FedvoiceException(
        ErrorCode.BAD_PACKAGE,
        where = "task ${manifest.name}, features",
        got = "log-mel asked of a model that is given the waveform itself",
        wanted = "a task of log-mel",
        nextStep =
            "Make examples by `inputsOf`, or update what made this call: it does not know " +
                "waveforms yet.",
    )
}

/** @throws FedvoiceException `bad-config` for a plan that masks frames and bins of waveforms */
fun checkMasks(features: FeatureSettings, plan: TrainingPlan) {
    val masks = plan.specAugment
    if (!features.isWaveform || masks.timeMasks + masks.frequencyMasks == 0) return
    throw FedvoiceException(
        ErrorCode.BAD_CONFIG,
        where = "the plan, spec_augment",
        got =
            "${masks.timeMasks} time and ${masks.frequencyMasks} frequency masks for a model of " +
                "waveforms",
        wanted = "no masks: SpecAugment masks log-mel (Park et al. 2019)",
        nextStep =
            "Leave out plan.spec_augment; a model may mask what it makes of the waveform by " +
                "torch.rand, which the host draws.",
    )
}

/**
 * Zero mean for every mel bin, unit variance over the whole utterance: [frames * melBins].
 *
 * One deviation for all bins: dividing each bin by its own would blow up the noise of bins in which
 * a short utterance has no energy.
 *
 * @param mel log-mel [frames * melBins], not changed
 */
fun normaliseFeatures(mel: FloatArray, melBins: Int): FloatArray {
    val frames = mel.size / melBins
    val means = DoubleArray(melBins)
    for (i in mel.indices) means[i % melBins] += mel[i].toDouble()
    for (bin in means.indices) means[bin] /= frames.toDouble()
    val out = FloatArray(mel.size) { (mel[it] - means[it % melBins]).toFloat() }
    val mean = out.sumOf { it.toDouble() } / out.size
    val variance = out.sumOf { (it - mean) * (it - mean) } / out.size
    val deviation = maxOf(sqrt(variance), SMALLEST_DEVIATION)
    for (i in out.indices) out[i] = (out[i] / deviation).toFloat()
    return out
}
