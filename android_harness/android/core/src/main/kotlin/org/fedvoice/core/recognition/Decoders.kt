package org.fedvoice.core.recognition

import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.ln1p

/**
 * @property tokens ids without blanks
 * @property times the encoder frame that gave each
 * @property score natural log of its probability
 */
data class Hypothesis(val tokens: List<Int>, val times: List<Int>, val score: Double) {
    /** One token longer. */
    fun plus(token: Int, at: Int, score: Double) = Hypothesis(tokens + token, times + at, score)

    companion object {
        val EMPTY = Hypothesis(emptyList(), emptyList(), 0.0)
    }
}

/** Decodes one utterance, frame by frame. */
interface Decoder {
    /** The best so far. */
    val best: Hypothesis

    /** The best as a whole utterance, for a language model. */
    val ended: Hypothesis get() = best

    /** Frames decoded. */
    val frames: Int

    /** Go on with the next frame's output [O]. */
    fun advance(output: FloatArray)
}

/** A prediction [J], and the state [S'] after it. */
class Predicted(val prediction: FloatArray, val state: FloatArray)

/** The predictor and the joint of a transducer. */
interface Transducer {
    /** After the blank, from a state of zeros. */
    fun start(): Predicted

    fun predict(tokens: List<Int>, before: List<Predicted>): List<Predicted>

    /** Logits [V] of a frame's [output] [J] with each prediction. */
    fun join(output: FloatArray, predicted: List<Predicted>): List<FloatArray>
}

internal const val BLANK = 0

/** The likeliest token of a frame until it is the blank, at most [symbols] a frame. */
class GreedyTransducer(private val model: Transducer, private val symbols: Int) : Decoder {
    private var predicted = model.start()
    override var best = Hypothesis.EMPTY
        private set
    override var frames = 0
        private set

    override fun advance(output: FloatArray) {
        var emitted = 0
        while (emitted < symbols) {
            val logP = logSoftmax(model.join(output, listOf(predicted)).single())
            val token = largest(logP, 1).single()
            val score = best.score + logP[token]
            if (token == BLANK) {
                best = best.copy(score = score)
                break
            }
            best = best.plus(token, frames, score)
            predicted = model.predict(listOf(token), listOf(predicted)).single()
            emitted++
        }
        frames++
    }
}

/** The best path, repeats and blanks removed. */
class GreedyCtc : Decoder {
    private var last = BLANK
    override var best = Hypothesis.EMPTY
        private set
    override var frames = 0
        private set

    override fun advance(output: FloatArray) {
        val logP = logSoftmax(output)
        val label = largest(logP, 1).single()
        val score = best.score + logP[label]
        best =
            if (label == BLANK || label == last) {
                best.copy(score = score)
            } else {
                best.plus(label, frames, score)
            }
        last = label
        frames++
    }
}

/** Natural log probabilities [V] of logits. */
internal fun logSoftmax(logits: FloatArray): DoubleArray {
    val most = logits.max().toDouble()
    val total = ln(logits.sumOf { exp(it - most) })
    return DoubleArray(logits.size) { logits[it] - most - total }
}

/** Places of the largest scores, best first; of equal ones the first. */
internal fun largest(scores: DoubleArray, count: Int): List<Int> =
    scores.indices.sortedByDescending { scores[it] }.take(count)

/** One of both probabilities, with the times of the better one. */
internal fun sumOf(a: Hypothesis, b: Hypothesis): Hypothesis {
    val (better, other) = if (a.score >= b.score) a to b else b to a
    return better.copy(score = better.score + ln1p(exp(other.score - better.score)))
}
