package org.fedvoice.core.recognition

/**
 * Time-synchronous beam search of a transducer: in each frame paths take tokens, at most [symbols],
 * and then the blank. Those of the same tokens are merged. The counterpart of
 * `device_runtime/recognition/beam.py`.
 */
class BeamTransducer(
    private val model: Transducer,
    private val symbols: Int,
    settings: SearchSettings,
    lm: LanguageModel? = null,
) : Decoder {
    private val fusion = Fusion(settings)
    private var paths = listOf(Path(Hypothesis.EMPTY, model.start(), lm))
    override val best: Hypothesis get() = paths.first().best
    override val ended: Hypothesis
        get() = paths.map { fusion.ended(it.best, it.lm) }.maxBy { it.score }
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
            val kept = largest(scores.toDoubleArray(), fusion.beam)
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
                Path(
                    if (other ==
                        null
                    ) {
                        blank
                    } else {
                        sumOf(other.best, blank)
                    },
                    path.predicted,
                    path.lm,
                )
            if (!mayEmit) return@flatMap emptyList()
            val scores = fusion.scores(path.best.score, logP, path.lm)
            scores[BLANK] = Double.NEGATIVE_INFINITY
            val places = largest(scores, fusion.beam)
            places.filter { it != BLANK }.map { Longer(scores[it], path, it) }
        }
    }

    private fun extended(chosen: List<Longer>): List<Path> {
        if (chosen.isEmpty()) return emptyList()
        val after = model.predict(chosen.map { it.token }, chosen.map { it.path.predicted })
        return chosen.zip(after).map { (longer, predicted) ->
            val (score, path, token) = longer
            Path(path.best.plus(token, frames, score), predicted, path.lm?.after(token))
        }
    }

    private class Path(val best: Hypothesis, val predicted: Predicted, val lm: LanguageModel?)

    private data class Longer(val score: Double, val path: Path, val token: Int)
}

/**
 * Prefix beam search of CTC: a prefix that ends with the blank and one that does not are two
 * hypotheses of the beam.
 */
class BeamCtc(settings: SearchSettings, lm: LanguageModel? = null) : Decoder {
    private val fusion = Fusion(settings)
    private var prefixes = listOf(Prefix(Hypothesis.EMPTY, true, lm))
    override val best: Hypothesis get() = likeliest(prefixes.map { it.best })
    override val ended: Hypothesis
        get() = likeliest(prefixes.map { fusion.ended(it.best, it.lm) })
    override var frames = 0
        private set

    override fun advance(output: FloatArray) {
        val logP = logSoftmax(output)
        val found = LinkedHashMap<Pair<List<Int>, Boolean>, Prefix>()

        fun add(prefix: Prefix) {
            val key = prefix.best.tokens to prefix.blank
            val other = found[key]
            found[key] = other?.copy(best = sumOf(other.best, prefix.best)) ?: prefix
        }
        for (prefix in prefixes) {
            val (best, endsBlank, lm) = prefix
            val repeated = if (endsBlank) BLANK else best.tokens.last()
            add(Prefix(best.copy(score = best.score + logP[BLANK]), true, lm))
            if (repeated != BLANK) {
                add(Prefix(best.copy(score = best.score + logP[repeated]), false, lm))
            }
            val scores = fusion.scores(best.score, logP, lm)
            val again = setOf(BLANK, repeated)
            for (place in again) scores[place] = Double.NEGATIVE_INFINITY
            for (token in largest(scores, fusion.beam) - again) {
                add(Prefix(best.plus(token, frames, scores[token]), false, lm?.after(token)))
            }
        }
        val ranked = found.values.toList()
        val scores = ranked.map { it.best.score }.toDoubleArray()
        prefixes = largest(scores, fusion.beam).map { ranked[it] }
        frames++
    }

    /** The best of hypotheses, those of the same tokens added up. */
    private fun likeliest(all: List<Hypothesis>): Hypothesis =
        all
            .groupBy { it.tokens }
            .values
            .map { it.reduce(::sumOf) }
            .maxBy { it.score }

    private data class Prefix(val best: Hypothesis, val blank: Boolean, val lm: LanguageModel?)
}
