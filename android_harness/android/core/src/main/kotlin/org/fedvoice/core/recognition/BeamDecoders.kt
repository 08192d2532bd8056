package org.fedvoice.core.recognition

/**
 * Time-synchronous beam search of a transducer: in each frame paths take tokens, at most [symbols],
 * and then the blank. Those of the same tokens are merged. The counterpart of
 * `device_runtime/recognition/beam.py`, without a language model.
 */
class BeamTransducer(
    private val model: Transducer,
    private val symbols: Int,
    private val beam: Int,
) : Decoder {
    private var paths = listOf(Path(Hypothesis.EMPTY, model.start()))
    override val best: Hypothesis get() = paths.first().best
    override var frames = 0
        private set

    override fun advance(output: FloatArray) {
        var active = paths
        var done = emptyMap<List<Int>, Path>()
        for (emitted in 0..symbols) {
            if (active.isEmpty()) break
            val found = LinkedHashMap(done)
            val longer = expanded(active, output, found, emitted < symbols)
            val ended = found.values.toList()
            val scores = ended.map { it.best.score } + longer.map { it.score }
            val kept = largest(scores.toDoubleArray(), beam)
            done = kept.filter { it < ended.size }.map { ended[it] }.associateBy { it.best.tokens }
            active = extended(kept.filter { it >= ended.size }.map { longer[it - ended.size] })
        }
        paths = done.values.sortedByDescending { it.best.score }
        frames++
    }

    /** With the blank into [done]; those with a token are returned. */
    private fun expanded(
        active: List<Path>,
        output: FloatArray,
        done: MutableMap<List<Int>, Path>,
        mayEmit: Boolean,
    ): List<Longer> {
        val logits = model.join(output, active.map { it.predicted })
        return active.zip(logits).flatMap { (path, row) ->
            val logP = logSoftmax(row)
            val blank = path.best.copy(score = path.best.score + logP[BLANK])
            val other = done[blank.tokens]
            done[blank.tokens] =
                Path(if (other == null) blank else sumOf(other.best, blank), path.predicted)
            val scores = DoubleArray(logP.size) { path.best.score + logP[it] }
            scores[BLANK] = Double.NEGATIVE_INFINITY
            val places = if (mayEmit) largest(scores, beam) else emptyList()
            places.filter { it != BLANK }.map { Longer(scores[it], path, it) }
        }
    }

    private fun extended(chosen: List<Longer>): List<Path> {
        if (chosen.isEmpty()) return emptyList()
        val after = model.predict(chosen.map { it.token }, chosen.map { it.path.predicted })
        return chosen.zip(after).map { (longer, predicted) ->
            Path(longer.path.best.plus(longer.token, frames, longer.score), predicted)
        }
    }

    private class Path(val best: Hypothesis, val predicted: Predicted)

    private class Longer(val score: Double, val path: Path, val token: Int)
}

/**
 * Prefix beam search of CTC: a prefix that ends with the blank and one that does not are two
 * hypotheses of the beam.
 */
class BeamCtc(private val beam: Int) : Decoder {
    private var prefixes = listOf(Prefix(Hypothesis.EMPTY, true))
    override val best: Hypothesis
        get() =
            prefixes
                .map { it.best }
                .groupBy { it.tokens }
                .values
                .map { it.reduce(::sumOf) }
                .maxBy { it.score }
    override var frames = 0
        private set

    override fun advance(output: FloatArray) {
        val logP = logSoftmax(output)
        val found = LinkedHashMap<Pair<List<Int>, Boolean>, Prefix>()

        fun add(best: Hypothesis, blank: Boolean) {
            val other = found[best.tokens to blank]
            val sum = if (other == null) best else sumOf(other.best, best)
            found[best.tokens to blank] = Prefix(sum, blank)
        }
        for (prefix in prefixes) {
            val best = prefix.best
            val repeated = if (prefix.blank) BLANK else best.tokens.last()
            val scores = DoubleArray(logP.size) { best.score + logP[it] }
            add(best.copy(score = scores[BLANK]), blank = true)
            if (repeated != BLANK) add(best.copy(score = scores[repeated]), blank = false)
            val again = setOf(BLANK, repeated)
            for (place in again) scores[place] = Double.NEGATIVE_INFINITY
            for (token in largest(scores, beam) - again) {
                add(best.plus(token, frames, scores[token]), blank = false)
            }
        }
        val ranked = found.values.toList()
        prefixes = largest(ranked.map { it.best.score }.toDoubleArray(), beam).map { ranked[it] }
        frames++
    }

    private class Prefix(val best: Hypothesis, val blank: Boolean)
}
