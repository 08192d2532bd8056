package org.fedvoice.core.recognition

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Streaming
import org.fedvoice.core.model.TaskManifest

/**
 * What was recognised so far of an utterance, or all of it.
 *
 * @property tokenSecs when each token was recognised, in seconds of the stream
 * @property ended the utterance has ended; the next result is of another one
 */
class StreamedText(
    val text: String,
    val tokens: List<Int>,
    val tokenSecs: List<Double>,
    val score: Double,
    val beginSecs: Double,
    val endSecs: Double,
    val ended: Boolean,
)

/**
 * An utterance ends when all of this holds; see `device_runtime/recognition/endpoints.py`.
 *
 * @property silenceSecs since the last token, or since the start where there is none
 */
class EndpointRule(val needsSpeech: Boolean, val silenceSecs: Double, val utteranceSecs: Double) {
    /** Whether an utterance has ended by this rule. */
    fun holds(spoken: Boolean, silenceSecs: Double, utteranceSecs: Double): Boolean =
        (spoken || !needsSpeech) &&
            silenceSecs >= this.silenceSecs &&
            utteranceSecs >= this.utteranceSecs

    companion object {
        /** Nothing said; a pause after something; as long as one utterance gets. */
        val DEFAULTS =
            listOf(
                EndpointRule(needsSpeech = false, silenceSecs = 5.0, utteranceSecs = 0.0),
                EndpointRule(needsSpeech = true, silenceSecs = 1.2, utteranceSecs = 0.0),
                EndpointRule(needsSpeech = false, silenceSecs = 0.0, utteranceSecs = 20.0),
            )
    }
}

/**
 * Recognises one stream of sound, piece by piece; what comes out does not depend on the pieces. For
 * one thread. The counterpart of `device_runtime/recognition/recogniser.py`.
 *
 * @param weights the model [P]
 * @param lm the language model before a sentence; null: none
 * @throws FedvoiceException `bad-package` for a task without streaming methods
 */
class StreamingRecogniser(
    private val engine: StreamingEngine,
    private val weights: FloatArray,
    private val search: SearchSettings = SearchSettings(),
    private val lm: LanguageModel? = null,
    private val rules: List<EndpointRule> = EndpointRule.DEFAULTS,
    warmupSecs: Double = 1.0,
    memorySecs: Double = 5.0,
) {
    private val manifest = engine.manifest
    private val sizes = manifest.demandStreaming()
    private val settings = manifest.features
    private val framesPerSec = settings.sampleRate / settings.hopSamples.toDouble()
    private val frameSecs = settings.stack / framesPerSec
    private val memoryFrames = maxOf(memorySecs * framesPerSec, 1.0)
    private val warmupFrames = minOf(warmupSecs * framesPerSec, memoryFrames)
    private val framing = Framing(settings, sizes.frames * settings.stack)
    private val statistics = RunningStatistics(settings.melBins, memoryFrames)
    private val waiting = mutableListOf<FloatArray>()
    private var state = FloatArray(sizes.encoderState)
    private var begin = 0
    private var decoder: Decoder? = null

    /** Samples a second that [accept] takes. */
    val sampleRate: Int get() = settings.sampleRate

    /** Hear the next [samples] in +-1: what changed the text so far, and ends of utterances. */
    fun accept(samples: FloatArray): List<StreamedText> =
        framing.accept(samples).flatMap { block ->
            await(engine.features(block))
            if (statistics.frames >= warmupFrames) released().mapNotNull(::heard) else emptyList()
        }

    /** The sound ends: what was said since the last end. Then begins another stream. */
    fun finish(): StreamedText {
        if (settings.frames(framing.pending.size) > 0) await(engine.features(framing.pending))
        released().forEach(::decode)
        return result(ended = true).also {
            framing.clear()
            renew(from = 0)
        }
    }

    private fun await(features: FloatArray) {
        waiting += features
        statistics.hear(features)
    }

    private fun released(): List<FloatArray> =
        waiting.map(statistics::normalise).also { waiting.clear() }

    private fun heard(features: FloatArray): StreamedText? {
        val before = decoder?.best?.tokens.orEmpty()
        decode(features)
        val now = checkNotNull(decoder)
        val best = now.best
        val silent = now.frames - (best.times.lastOrNull() ?: 0)
        val ended =
            rules.any {
                it.holds(best.tokens.isNotEmpty(), silent * frameSecs, now.frames * frameSecs)
            }
        val result = if (ended || best.tokens != before) result(ended) else null
        if (ended) renew(from = begin + now.frames)
        return result
    }

    /** A block of at most a chunk's normalised frames. */
    private fun decode(features: FloatArray) {
        val chunk = features.copyOf(sizes.frames * settings.stack * settings.melBins)
        val (outputs, after) = engine.stream(weights, chunk, state).let { it.values to it.state }
        state = after
        val now = decoder ?: newDecoder().also { decoder = it }
        repeat(settings.stackedFrames(features.size / settings.melBins)) {
            now.advance(outputs.copyOfRange(it * sizes.outputs, (it + 1) * sizes.outputs))
        }
    }

    private fun newDecoder(): Decoder {
        val isGreedy = search.beam == 1 && lm == null && search.insertionBonus == 0.0
        if (sizes.predictorState == 0) return if (isGreedy) GreedyCtc() else BeamCtc(search, lm)
        val model = EngineTransducer(engine, weights, sizes)
        val symbols = sizes.maxSymbolsPerFrame
        return if (isGreedy) {
            GreedyTransducer(model, symbols)
        } else {
            BeamTransducer(model, symbols, search, lm)
        }
    }

    private fun result(ended: Boolean): StreamedText {
        val best = decoder?.let { if (ended) it.ended else it.best } ?: Hypothesis.EMPTY
        return StreamedText(
            text = manifest.vocabulary.decode(best.tokens.toIntArray()),
            tokens = best.tokens,
            tokenSecs = best.times.map { (begin + it) * frameSecs },
            score = best.score,
            beginSecs = begin * frameSecs,
            endSecs = (begin + (decoder?.frames ?: 0)) * frameSecs,
            ended = ended,
        )
    }

    private fun renew(from: Int) {
        state = FloatArray(sizes.encoderState)
        begin = from
        decoder = null
    }
}

/** [Transducer] by an engine's `predict` and `join`, R hypotheses a call. */
private class EngineTransducer(
    private val engine: StreamingEngine,
    private val weights: FloatArray,
    private val sizes: Streaming,
) : Transducer {
    override fun start(): Predicted {
        val zeros = Predicted(FloatArray(0), FloatArray(sizes.predictorState))
        return predict(listOf(BLANK), listOf(zeros)).single()
    }

    override fun predict(tokens: List<Int>, before: List<Predicted>): List<Predicted> =
        tokens.zip(before).chunked(sizes.rows).flatMap { group ->
            val ids = LongArray(sizes.rows) { group.getOrNull(it)?.first?.toLong() ?: 0 }
            val states = filled(group.map { it.second.state }, sizes.predictorState)
            val after = engine.predict(weights, ids, states)
            val predictions = rowsOf(after.values, sizes.outputs, group.size)
            val next = rowsOf(after.state, sizes.predictorState, group.size)
            predictions.zip(next, ::Predicted)
        }

    override fun join(output: FloatArray, predicted: List<Predicted>): List<FloatArray> =
        predicted.chunked(sizes.rows).flatMap { group ->
            val outputs = filled(List(sizes.rows) { output }, sizes.outputs)
            val predictions = filled(group.map { it.prediction }, sizes.outputs)
            val logits = engine.join(weights, outputs, predictions)
            rowsOf(logits, logits.size / sizes.rows, group.size)
        }

    /** [rows] of [width] values, with zeros up to R rows. */
    private fun filled(rows: List<FloatArray>, width: Int): FloatArray =
        FloatArray(sizes.rows * width).also { all ->
            rows.forEachIndexed { i, row -> row.copyInto(all, i * width) }
        }

    private fun rowsOf(values: FloatArray, width: Int, count: Int): List<FloatArray> =
        List(count) { values.copyOfRange(it * width, (it + 1) * width) }
}

/**
 * The task's streaming methods.
 *
 * @throws FedvoiceException `bad-package` for a task without them
 */
fun TaskManifest.demandStreaming(): Streaming =
    streaming ?: throw FedvoiceException(
        ErrorCode.BAD_PACKAGE,
        where = "task $name, streaming",
        got = "a program that recognises whole utterances only",
        wanted = "one exported with a table [streaming]",
        nextStep = "Recognise whole utterances, or export the task with a streaming table.",
    )
