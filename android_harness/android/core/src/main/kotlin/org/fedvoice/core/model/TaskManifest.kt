package org.fedvoice.core.model

import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.MissingFieldException
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException

/** What a model is given of a recording. */
@Serializable
enum class FeatureKind {
    /** Normalised log-mel; the program's `features` method computes it. */
    @SerialName("log-mel")
    LOG_MEL,

    /** Its samples: a frame is one sample, and a program has no `features`. */
    @SerialName("waveform")
    WAVEFORM,
}

/** How the samples of an utterance are normalised. */
@Serializable
enum class Normalise {
    @SerialName("none")
    NONE,

    /** Zero mean and unit variance, as wav2vec 2.0 is given them. */
    @SerialName("utterance")
    UTTERANCE,
}

/**
 * The front end; see `protocol/task.py`.
 *
 * @property kind of waveforms all sizes of the log-mel front end are 1
 * @property normalise of waveforms alone: log-mel is always normalised
 */
@Serializable
data class FeatureSettings(
    @SerialName("sample_rate") val sampleRate: Int = 16000,
    @SerialName("fft_size") val fftSize: Int = 512,
    @SerialName("window_samples") val windowSamples: Int = 400,
    @SerialName("hop_samples") val hopSamples: Int = 160,
    @SerialName("mel_bins") val melBins: Int = 40,
    val stack: Int = 8,
    @SerialName("log_floor") val logFloor: Double = 1e-6,
    @SerialName("max_secs") val maxSecs: Double = 30.0,
    val kind: FeatureKind = FeatureKind.LOG_MEL,
    val normalise: Normalise = Normalise.NONE,
) {
    init {
        val sizes = listOf(fftSize, windowSamples, hopSamples, melBins, stack)
        require(kind == FeatureKind.LOG_MEL || sizes.all { it == 1 }) {
            "the sizes of log-mel are $sizes with kind waveform, of which a frame is one sample"
        }
        require(kind == FeatureKind.WAVEFORM || normalise == Normalise.NONE) {
            "normalise is of kind waveform; log-mel is always normalised"
        }
        require(stack >= 1) { "stack is $stack, wanted at least 1" }
        require(hopSamples >= 1 && fftSize >= 1 && melBins >= 1 && sampleRate >= 1) {
            "hop_samples, fft_size, mel_bins and sample_rate must be positive"
        }
    }

    /** Whether a model is given samples, not log-mel. */
    val isWaveform: Boolean get() = kind == FeatureKind.WAVEFORM

    /** Samples of the longest waveform that the task takes. */
    val maxSamples: Int get() = (maxSecs * sampleRate).toInt()

    /**
     * Feature frames of [samples] samples (uncentred framing), of a waveform all of them; at
     * least 0.
     */
    fun frames(samples: Int): Int = maxOf(0, Math.floorDiv(samples - fftSize, hopSamples) + 1)

    /** Encoder frames of [frames] feature frames, the last one padded. */
    fun stackedFrames(frames: Int): Int = (frames + stack - 1) / stack
}

/**
 * Fixed shapes of one pair of methods `step_<name>`, `decode_<name>`.
 *
 * @property frames T, encoder (stacked) frames at most
 * @property labels U, target tokens at most
 * @property batch B, rows; fewer examples are padded with rows of weight 0
 * @property draws D, random numbers in [0, 1) that a training step takes, for dropout
 */
@Serializable
data class Bucket(
    val name: String,
    val frames: Int,
    val labels: Int,
    val batch: Int,
    @SerialName("step_arena_bytes") val stepArenaBytes: Long = 0,
    @SerialName("decode_arena_bytes") val decodeArenaBytes: Long = 0,
    val draws: Int = 0,
) {
    init {
        require(draws >= 0) { "bucket '$name' has draws $draws, wanted 0 or more" }
        require(frames > 0 && labels > 0 && batch > 0) {
            "bucket '$name' has frames $frames, labels $labels, batch $batch: wanted more than 0"
        }
    }

    val stepMethod: String get() = "step_$name"
    val decodeMethod: String get() = "decode_$name"
}

/**
 * Methods that recognise chunk by chunk; see `protocol/task.py`.
 *
 * @property frames C, encoder (stacked) frames of a call of `stream_<C>`
 * @property rows R, hypotheses of a call of `predict` and `join`
 * @property outputs O, values that `stream_<C>` gives for a frame
 * @property encoderState S
 * @property predictorState S'; 0 of a CTC model, which has no predictor
 * @property maxSymbolsPerFrame tokens that a frame may give
 */
@Serializable
data class Streaming(
    val frames: Int,
    val rows: Int,
    val outputs: Int,
    @SerialName("encoder_state") val encoderState: Int,
    @SerialName("predictor_state") val predictorState: Int = 0,
    @SerialName("max_symbols_per_frame") val maxSymbolsPerFrame: Int = 1,
) {
    init {
        require(frames >= 1 && rows >= 1 && outputs >= 1 && encoderState >= 1) {
            "streaming's frames, rows, outputs and encoder_state must be positive"
        }
        require(predictorState >= 0 && maxSymbolsPerFrame >= 1) {
            "streaming has predictor_state $predictorState, " +
                "max_symbols_per_frame $maxSymbolsPerFrame: wanted 0 or more, 1 or more"
        }
    }

    val streamMethod: String get() = "stream_$frames"

    /** Names of all methods. */
    val methods: List<String>
        get() =
            listOf(streamMethod) +
                if (predictorState > 0) listOf("predict", "join") else emptyList()
}

/**
 * Contents of `task.json`; see `protocol/task.py`.
 *
 * @property modelKind name of a model kind
 * @property takesAudio whether examples are made from recordings; null: as the kind implies
 * @property scoring words | labels; null: as the kind implies
 * @property model the exporter's settings, which a phone does not read
 * @property buckets in ascending order of frames
 * @property streaming null: only whole utterances are recognised
 * @property weightsDigest of weights.safetensors as exported
 * @property partial what of the model trains; phones need not know, since the program does
 * @property frozenDigest of the tensors that do not train; they lie in the program
 * @property frozenBytes what these take
 */
@Serializable
data class TaskManifest(
    @SerialName("format_version") val formatVersion: Int = FORMAT_VERSION,
    val name: String,
    @SerialName("model_kind") val modelKind: String,
    @SerialName("takes_audio") val takesAudio: Boolean? = null,
    val scoring: String? = null,
    val model: Map<String, JsonPrimitive>,
    val parameters: ParameterTable,
    val features: FeatureSettings,
    val buckets: List<Bucket>,
    val vocabulary: Vocabulary,
    val streaming: Streaming? = null,
    val plan: TrainingPlan = TrainingPlan(),
    val operators: List<String> = emptyList(),
    val delegates: List<String> = emptyList(),
    @SerialName("program_digest") val programDigest: String,
    @SerialName("weights_digest") val weightsDigest: String,
    val partial: JsonObject? = null,
    @SerialName("frozen_digest") val frozenDigest: String = "",
    @SerialName("frozen_bytes") val frozenBytes: Long = 0,
) {
    init {
        require(buckets.isNotEmpty()) { "buckets is empty, wanted at least one" }
    }

    /** The smallest bucket that holds [frames] encoder frames and [labels] tokens. */
    fun bucketFor(frames: Int, labels: Int): Bucket? =
        buckets.firstOrNull { frames <= it.frames && labels <= it.labels }

    companion object {
        const val FORMAT_VERSION: Int = 1

        /** A [scoring]. */
        const val LABELS: String = "labels"

        /**
         * Read task.json's bytes.
         *
         * @throws FedvoiceException `bad-package` with the first field that is wrong
         */
        fun parse(bytes: ByteArray, where: String): TaskManifest {
            val manifest =
                try {
                    val text =
                        Charsets.UTF_8
                            .newDecoder()
                            .decode(ByteBuffer.wrap(bytes))
                            .toString()
                    Json.decodeFromString(serializer(), text)
                } catch (error: CharacterCodingException) {
                    throw badManifest(where, "(whole file)", "bytes that are not UTF-8", error)
                } catch (error: IllegalArgumentException) {
                    val message = error.message.orEmpty()
                    throw badManifest(where, fieldOf(error), message.lineSequence().first(), error)
                }
            if (manifest.formatVersion != FORMAT_VERSION) {
                throw FedvoiceException(
                    ErrorCode.BAD_PACKAGE,
                    where = where,
                    got = "format version ${manifest.formatVersion}",
                    wanted = "format version $FORMAT_VERSION",
                    nextStep =
                        "Export the task with this version of fedvoice, or update fedvoice.",
                )
            }
            return manifest
        }

        private fun badManifest(where: String, field: String, got: String, cause: Exception) =
            FedvoiceException(
                ErrorCode.BAD_PACKAGE,
                where = "$where, field $field",
                got = got,
                wanted = "a task manifest",
                nextStep = "Export the task again with `fedvoice export`.",
                cause = cause,
            )

        /** The field that [error] speaks of, as `buckets.0.frames`. */
        @OptIn(ExperimentalSerializationApi::class)
        private fun fieldOf(error: IllegalArgumentException): String {
            val path =
                PATH
                    .find(error.message.orEmpty())
                    ?.groupValues
                    ?.get(1)
                    .orEmpty()
            val missing = (error as? MissingFieldException)?.missingFields?.firstOrNull()
            val unknown = UNKNOWN.find(error.message.orEmpty())?.groupValues?.get(1)
            val last = (missing ?: unknown)?.takeUnless { path.endsWith(".$it") }
            val parts = path.split('.', '[', ']').filter { it.isNotEmpty() } + listOfNotNull(last)
            return parts.joinToString(".").ifEmpty {
                if (error is SerializationException) "(whole file)" else "(a value)"
            }
        }

        private val PATH = Regex("""at path:? \$(\S*)""")
        private val UNKNOWN = Regex("""unknown key '([^']*)'""")
    }
}
