package org.fedvoice.core.model

import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.JsonIgnoreUnknownKeys
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.text.TextRule
import java.util.Locale

/** What one token is. */
@Serializable
enum class TargetKind {
    @SerialName("word")
    WORD,

    @SerialName("character")
    CHARACTER,

    @SerialName("piece")
    PIECE,
    ;

    /** As in task.json and in messages. */
    val id: String get() = name.lowercase(Locale.ROOT)
}

/**
 * Token table of a task: text <-> ids. `tokens[0]` is the blank and never stands for text.
 *
 * @property pieceModel for word pieces a sentencepiece model, base64, whose piece i is token i + 1
 * @property text the rule of its texts; null in packages of 0.1.0 and for targets that are no
 *   texts: lower case, white space folded
 */
@OptIn(ExperimentalSerializationApi::class)
@Serializable
@JsonIgnoreUnknownKeys
data class Vocabulary(
    val kind: TargetKind,
    val tokens: List<String>,
    @SerialName("piece_model") val pieceModel: String = "",
    val text: TextRule? = null,
) {
    /** V, the blank included. */
    val size: Int get() = tokens.size

    private val ids: Map<String, Int> by lazy {
        tokens.withIndex().drop(1).associate { (id, token) -> token to id }
    }

    private val pieces: UnigramPieces by lazy { UnigramPieces.parse(decodeBase64(pieceModel)) }

    /** What the pieces are made of, besides the piece for what they are not made of. */
    private val letters: Set<String> by lazy {
        val strange = setOf(BLANK, pieces.unknown + 1)
        tokens.filterIndexed { id, _ -> id !in strange }.flatMap(::codePoints).toSet()
    }

    /**
     * A transcript in the form in which it is encoded and scored: a reference of word errors.
     *
     * @throws FedvoiceException `unsupported-text` for what the task's rule refuses
     */
    fun normalise(transcript: String): String = text?.normalise(transcript) ?: lowered(transcript)

    /**
     * Token ids (1..V-1) of [transcript].
     *
     * @throws FedvoiceException `empty-transcript`; `unsupported-text` for what the task's rule
     *   refuses; `unknown-token` for a word or character that the task does not have; `bad-package`
     *   for word pieces that this phone cannot read
     */
    fun encode(transcript: String): IntArray {
        val normal = normalise(transcript)
        if (normal.isEmpty()) {
            throw FedvoiceException(
                ErrorCode.EMPTY_TRANSCRIPT,
                where = "transcript",
                got = "no text",
                wanted = "at least one word",
                nextStep = "Give the utterance a transcript or leave it out.",
            )
        }
        if (kind == TargetKind.PIECE) {
            val found = pieces.encode(normal)
            if (pieces.unknown in found) {
                val strange = codePoints(normal).firstOrNull { it != " " && it !in letters }
                val got = "character '${strange ?: normal}'"
                throw unknown(normal, got, "characters of the task's")
            }
            return found.map { it + 1 }.toIntArray()
        }
        val units =
            when (kind) {
                TargetKind.WORD -> normal.split(' ')
                else -> codePoints(normal.replace(' ', WORD_BOUNDARY))
            }
        return IntArray(units.size) {
            ids[units[it]]
                ?: throw unknown(normal, "${kind.id} '${units[it]}'", "one of the task's")
        }
    }

    /** Text of token ids; blanks are skipped. */
    fun decode(ids: IntArray): String {
        val said = ids.filter { it != BLANK }
        return when (kind) {
            TargetKind.PIECE -> {
                pieces.decode(said.map { it - 1 })
            }
            TargetKind.WORD -> {
                said.joinToString(" ") { tokens[it] }
            }
            TargetKind.CHARACTER -> {
                words(said.joinToString("") { tokens[it] }.replace(WORD_BOUNDARY, ' '))
                    .joinToString(" ")
            }
        }
    }

    /**
     * The normalised text of [transcript], and its token ids.
     *
     * @param testing a text with words or letters that the task lacks gives no ids instead of an
     *   error: it is still the reference of what is recognised
     * @throws FedvoiceException as [encode]
     */
    fun referenceAndTargets(transcript: String, testing: Boolean): Pair<String, IntArray> {
        val reference = normalise(transcript)
        return try {
            reference to encode(transcript)
        } catch (error: FedvoiceException) {
            if (!testing || error.code != ErrorCode.UNKNOWN_TOKEN) throw error
            reference to IntArray(0)
        }
    }

    private fun unknown(text: String, got: String, wanted: String) =
        FedvoiceException(
            ErrorCode.UNKNOWN_TOKEN,
            where = "transcript '$text'",
            got = got,
            wanted = "$wanted ${size - 1} ${kind.id}s",
            nextStep = "Leave the utterance out, or export a task whose targets have it.",
        )

    companion object {
        const val BLANK: Int = 0
        const val WORD_BOUNDARY: Char = '\u2581'

        /** The rule of fedvoice 0.1.0, for its packages: lower case and folded white space. */
        private fun lowered(text: String): String = fold(text.lowercase(Locale.ROOT))

        /** A text as it was written, white space folded: how transcripts are kept. */
        fun fold(text: String): String = words(text).joinToString(" ")

        /** The stretches of [text] between white space (Python's: NEL is one, too). */
        fun words(text: String): List<String> = text.split(::isSpace).filter { it.isNotEmpty() }

        /** [text] without white space at its ends. */
        fun strip(text: String): String = text.trim(::isSpace)

        private fun isSpace(c: Char): Boolean = c.isWhitespace() || c == '\u0085'

        /** The code points of [text], each as a text. */
        fun codePoints(text: String): List<String> {
            val points = mutableListOf<String>()
            var start = 0
            while (start < text.length) {
                val end = start + Character.charCount(text.codePointAt(start))
                points += text.substring(start, end)
                start = end
            }
            return points
        }
    }
}

private inline fun String.split(isGap: (Char) -> Boolean): List<String> {
    val parts = mutableListOf<String>()
    var start = 0
    for (i in indices) {
        if (isGap(this[i])) {
            parts += substring(start, i)
            start = i + 1
        }
    }
    parts += substring(start)
    return parts
}

private fun decodeBase64(text: String): ByteArray =
    try {
        java.util.Base64
            .getDecoder()
            .decode(text)
    } catch (error: IllegalArgumentException) {
        throw FedvoiceException(
            ErrorCode.BAD_PACKAGE,
            where = "vocabulary, piece_model",
            got = error.message.orEmpty(),
            wanted = "base64",
            nextStep = "Export the task again with `fedvoice export`.",
            cause = error,
        )
    }
