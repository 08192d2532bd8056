package org.fedvoice.core.recognition

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException

/**
 * How decoders search.
 *
 * @property beam hypotheses kept from frame to frame; 1 without language model or bonus: greedy
 * @property lmWeight of the language model's log probability of a token (shallow fusion)
 * @property insertionBonus added for each token; a language model prefers short texts
 * @throws FedvoiceException `bad-config`
 */
data class SearchSettings(
    val beam: Int = 1,
    val lmWeight: Double = 0.3,
    val insertionBonus: Double = 0.0,
) {
    init {
        if (beam !in 1..MAX_BEAM || !lmWeight.isFinite() || !insertionBonus.isFinite()) {
            throw FedvoiceException(
                ErrorCode.BAD_CONFIG,
                where = "beam search",
                got = "$this",
                wanted = "a beam of 1 to $MAX_BEAM, finite weights",
                nextStep = "Correct it; beyond 16 a wider beam hardly changes texts.",
            )
        }
    }

    private companion object {
        const val MAX_BEAM = 256
    }
}

/** A language model at some place of a sentence. */
interface LanguageModel {
    /** Natural log probabilities [V] of the next token; that of the sentence's end is 0's. */
    val logP: DoubleArray

    /** After one more token, 1..V-1. */
    fun after(token: Int): LanguageModel
}

/** What a token costs beside the acoustic model, by a language model if there is one. */
internal class Fusion(private val settings: SearchSettings) {
    val beam: Int get() = settings.beam

    /** Scores [V] of one token more than a hypothesis of [score], whose frame gives [logP]. */
    fun scores(score: Double, logP: DoubleArray, lm: LanguageModel?): DoubleArray {
        val ofLm = lm?.logP
        return DoubleArray(logP.size) {
            val added = if (ofLm == null) 0.0 else settings.lmWeight * ofLm[it]
            score + logP[it] + (added + settings.insertionBonus)
        }
    }

    /** With the end of the sentence. */
    fun ended(best: Hypothesis, lm: LanguageModel?): Hypothesis =
        if (lm == null) best else best.copy(score = best.score + settings.lmWeight * lm.logP[BLANK])
}
