package org.fedvoice.core.model

import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.JsonIgnoreUnknownKeys
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
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
 */
@OptIn(ExperimentalSerializationApi::class)
@Serializable
@JsonIgnoreUnknownKeys
data class Vocabulary(
    val kind: TargetKind,
    val tokens: List<String>,
    @SerialName("piece_model") val pieceModel: String = "",
) {
    /** V, the blank included. */
    val size: Int get() = tokens.size

    private val ids: Map<String, Int> by lazy {
        tokens.withIndex().drop(1).associate { (id, token) -> token to id }
    }

    private val pieces: UnigramPieces by lazy { UnigramPieces.parse(decodeBase64(pieceModel)) }

    /**
     * Token ids (1..V-1) of [text].
     *
     * @throws FedvoiceException `empty-transcript`; `unknown-token` for a word or character that
     *   the task does not have; `bad-package` for word pieces that this phone cannot read
     */
    fun encode(text: String): IntArray {
        val normal = normalise(text)
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
            return pieces.encode(normal).map { it + 1 }.toIntArray()
        }
        val units =
            when (kind) {
                TargetKind.WORD -> normal.split(' ')
                else -> codePoints(normal.replace(' ', WORD_BOUNDARY))
            }
        return IntArray(units.size) { ids[units[it]] ?: throw unknown(normal, units[it]) }
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

    private fun unknown(text: String, unit: String) =
        FedvoiceException(
            ErrorCode.UNKNOWN_TOKEN,
            where = "transcript '$text'",
            got = "${kind.id} '$unit'",
            wanted = "one of the task's ${size - 1} ${kind.id}s",
            nextStep = "Leave the utterance out, or export a task whose targets have it.",
        )

    companion object {
        const val BLANK: Int = 0
        const val WORD_BOUNDARY: Char = '\u2581'

        /** Lower case, white space folded: the form in which texts are encoded and scored. */
        fun normalise(text: String): String = words(text.lowercase(Locale.ROOT)).joinToString(" ")

        /** The stretches of [text] between white space (Python's: NEL is one, too). */
        fun words(text: String): List<String> =
            text.split { it.isWhitespace() || it == '\u0085' }.filter { it.isNotEmpty() }
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

private fun codePoints(text: String): List<String> {
    val points = mutableListOf<String>()
    var start = 0
    while (start < text.length) {
        val end = start + Character.charCount(text.codePointAt(start))
        points += text.substring(start, end)
        start = end
    }
    return points
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
