package org.fedvoice.desktop

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.JsonObject
import org.fedvoice.core.random.RandomTable

/**
 * What `conform` is asked. Files hold little-endian arrays; `id` names the answer's files.
 *
 * @property out folder for the answers
 */
@Serializable
class ConformJob(val out: String, val questions: List<Question>)

/** One utterance of a training question: features and targets, or a waveform and its transcript. */
@Serializable
class ExampleFiles(
    val features: String = "",
    val targets: List<Int> = emptyList(),
    val waveform: String = "",
    @SerialName("sample_rate") val sampleRate: Int = 0,
    val transcript: String = "",
)

/** Local training: a task package, a serialised `Plan`, weights float32 [P], examples. */
@Serializable
class TrainingJob(
    val task: String,
    val plan: String,
    val weights: String,
    val examples: List<ExampleFiles>,
    @SerialName("client_id") val clientId: String,
    val round: Int,
)

@Serializable
sealed class Question {
    abstract val id: String
}

/** Draws from one stream, in this order: words, normals, uniforms float32, a permutation. */
@Serializable
@SerialName("draws")
class Draws(
    override val id: String,
    val seed: ULong,
    @SerialName("client_id") val clientId: String,
    val round: Int,
    val purpose: String,
    val words: Int,
    val normals: Int,
    val uniforms: Int,
    val permutation: Int,
) : Question()

/** [count] values of a plan seed's table of [numbers], normals or uniforms, from [offset] on. */
@Serializable
@SerialName("table")
class Table(
    override val id: String,
    val numbers: String,
    val seed: ULong,
    val offset: Int,
    val count: Int,
) : Question() {
    /** Fill [values] with them. */
    fun read(values: FloatArray) {
        val table = if (numbers == "normals") RandomTable::normals else RandomTable::uniforms
        table(seed).read(offset, values)
    }
}

/** The vector in a file, encoded; and what [data], if given, decodes to. */
@Serializable
@SerialName("codec")
class Encoding(
    override val id: String,
    val encoding: String,
    val vector: String,
    val data: String,
) : Question()

/** Token ids of texts, and the texts of those ids. */
@Serializable
@SerialName("vocabulary")
class Texts(
    override val id: String,
    val task: String,
    val texts: List<String>,
    val ids: List<List<Int>> = emptyList(),
) : Question()

/** Log-mel and normalised features of a waveform. */
@Serializable
@SerialName("features")
class Sound(override val id: String, val task: String, val waveform: String) : Question()

/** The course of a round's training. */
@Serializable
@SerialName("course")
class Plan(override val id: String, val job: TrainingJob) : Question()

/** A round's training; [stopAfter] steps it is interrupted and resumed with a new engine. */
@Serializable
@SerialName("training")
class Training(
    override val id: String,
    val job: TrainingJob,
    @SerialName("stop_after") val stopAfter: Int = 0,
) : Question()

/** Greedy transcripts of a job's examples at its weights, and their word errors. */
@Serializable
@SerialName("recognition")
class Recognition(override val id: String, val job: TrainingJob) : Question()

/**
 * What [waveform], [piece] samples at a time, is heard as chunk by chunk; [lm] is the file of a
 * language model, if any.
 */
@Serializable
@SerialName("streaming")
class Streamed(
    override val id: String,
    val task: String,
    val weights: String,
    val waveform: String,
    val piece: Int,
    val beam: Int,
    val lm: String = "",
    @SerialName("lm_weight") val lmWeight: Double = 0.3,
    @SerialName("insertion_bonus") val insertionBonus: Double = 0.0,
) : Question()

/** The wire bytes of a message made from fields, named as in fedvoice.proto. */
@Serializable
@SerialName("message")
class WireMessage(override val id: String, val type: String, val fields: JsonObject) : Question()

/** A wav file as a phone reads it: its facts, and its waveform at that rate. */
@Serializable
@SerialName("recording")
class WavFile(override val id: String, val path: String) : Question()

/** Numbers of an example store that somebody else wrote, and one example added to it. */
@Serializable
@SerialName("store")
class Store(override val id: String, val path: String, val wav: String) : Question()
