package org.fedvoice.sdk

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOn
import kotlinx.coroutines.launch
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.recognition.EndpointRule
import org.fedvoice.core.recognition.SearchSettings
import org.fedvoice.core.recognition.StreamedText
import org.fedvoice.core.recognition.StreamingEngine
import org.fedvoice.core.recognition.StreamingRecogniser
import org.fedvoice.core.recognition.readLanguageModel
import org.fedvoice.core.store.Resampler
import java.io.File

/**
 * What was heard of one utterance.
 *
 * @property text so far, or all of it; empty where nothing was said
 * @property beginSecs at which the utterance began, in seconds of the sound
 * @property endSecs up to which it was heard
 * @property isFinal the utterance has ended; what comes next is of another one
 */
data class HeardText(
    val text: String,
    val beginSecs: Double,
    val endSecs: Double,
    val isFinal: Boolean,
)

/**
 * How [FedVoice.listen] recognises.
 *
 * @property beam hypotheses kept from frame to frame, 1 to 256; 1 is the fastest
 * @property pauseSecs of silence after speech end an utterance, 0.1 or more
 * @property longestSecs of one utterance, 1 to 600
 * @property languageModel of the task's tokens: an ARPA file, or an LSTM as .safetensors. It is
 *   read whenever listening begins
 * @property lmWeight of its log probability of a token
 * @property insertionBonus added for each token; a language model prefers short texts
 * @throws FedvoiceException `bad-config`
 */
data class ListenSettings(
    val beam: Int = 1,
    val pauseSecs: Double = 1.2,
    val longestSecs: Double = 20.0,
    val languageModel: File? = null,
    val lmWeight: Double = 0.3,
    val insertionBonus: Double = 0.0,
) {
    internal val search = SearchSettings(beam, lmWeight, insertionBonus)
    internal val rules =
        listOf(
            EndpointRule(needsSpeech = false, silenceSecs = 5.0, utteranceSecs = 0.0),
            EndpointRule(needsSpeech = true, silenceSecs = pauseSecs, utteranceSecs = 0.0),
            EndpointRule(needsSpeech = false, silenceSecs = 0.0, utteranceSecs = longestSecs),
        )

    init {
        if (!(pauseSecs >= LEAST_PAUSE) || longestSecs !in LONGEST) {
            throw FedvoiceException(
                ErrorCode.BAD_CONFIG,
                where = "ends of utterances",
                got = "a pause of $pauseSecs s, utterances of $longestSecs s",
                wanted =
                    "a pause of $LEAST_PAUSE s or more, " +
                        "utterances of ${LONGEST.start} to ${LONGEST.endInclusive} s at most",
                nextStep = "Correct it; the defaults suit dictation.",
            )
        }
    }
}

private const val LEAST_PAUSE = 0.1
private val LONGEST = 1.0..600.0

/** A program of its own for one stream of sound, and the model's weights [P]. */
internal class StreamingModel(val engine: StreamingEngine, val weights: FloatArray)

/** [open] gives the model; its program is closed however the sound or its listener ends. */
internal fun listening(
    sound: Flow<ShortArray>,
    sampleRate: Int?,
    settings: ListenSettings,
    open: () -> StreamingModel,
): Flow<HeardText> =
    flow {
        coroutineScope {
            // The sound begins while the program is loaded: no first word is lost.
            val pieces = Channel<ShortArray>(Channel.BUFFERED)
            launch {
                sound.collect(pieces::send)
                pieces.close()
            }
            val model = open()
            model.engine.use { engine ->
                val tokens = engine.manifest.vocabulary.tokens
                val lm = settings.languageModel?.let { readLanguageModel(it, tokens) }
                val (search, rules) = settings.search to settings.rules
                val recogniser = StreamingRecogniser(engine, model.weights, search, lm, rules)
                val wanted = recogniser.sampleRate
                val resampler = Resampler(sampleRate ?: wanted, wanted)
                for (pcm in pieces) {
                    recogniser.accept(resampler.accept(waveformOf(pcm))).forEach { emit(heard(it)) }
                }
                recogniser.accept(resampler.finish()).forEach { emit(heard(it)) }
                emit(heard(recogniser.finish()))
            }
        }
    }.flowOn(Dispatchers.Default)

private fun heard(found: StreamedText) =
    HeardText(found.text, found.beginSecs, found.endSecs, found.ended)

/** Samples in +-1. */
internal fun waveformOf(pcm: ShortArray) = FloatArray(pcm.size) { pcm[it] / FULL_SCALE }
