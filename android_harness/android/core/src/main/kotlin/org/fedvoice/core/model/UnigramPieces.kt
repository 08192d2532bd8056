package org.fedvoice.core.model

import com.google.protobuf.CodedInputStream
import com.google.protobuf.WireFormat
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.IOException

/**
 * A sentencepiece unigram model: text <-> piece ids, as the exporter's `sentencepiece` gives them.
 *
 * Sources: Kudo, "Subword Regularization" (ACL 2018), section 3.2, for the most probable split;
 * `sentencepiece_model.proto` for the file. Only what `model_export/vocabulary.py` writes is read:
 * type unigram, identity normalisation, no byte fallback.
 */
class UnigramPieces private constructor(private val pieces: List<Piece>) {
    private class Piece(val text: String, val score: Float, val type: Int)

    private val places: Map<String, Int> =
        pieces
            .withIndex()
            .filter { (_, piece) -> piece.type == NORMAL || piece.type == USER_DEFINED }
            .associate { (id, piece) -> piece.text to id }
    private val longest = places.keys.maxOfOrNull { it.length } ?: 0

    /** The piece for what no other is made of. */
    val unknown: Int = pieces.indexOfFirst { it.type == UNKNOWN }
    private val normalScores = pieces.filter { it.type == NORMAL }.map { it.score }
    private val unknownScore = (normalScores.minOrNull() ?: 0f) - UNKNOWN_PENALTY
    private val bestScore = normalScores.maxOrNull() ?: 0f

    /**
     * Piece ids of [text], lower case and with single spaces.
     *
     * Viterbi over the ends of pieces; of equally probable splits the one found first wins, and a
     * run of unknown characters is one unknown piece.
     */
    fun encode(text: String): List<Int> {
        val marked = (SPACE + text.replace(' ', SPACE)).trimEnd(SPACE)
        val score = FloatArray(marked.length + 1)
        val startOf = IntArray(marked.length + 1) { -1 }
        val idAt = IntArray(marked.length + 1)

        fun offer(end: Int, start: Int, id: Int, pieceScore: Float) {
            val candidate = pieceScore + score[start]
            if (startOf[end] == -1 || candidate > score[end]) {
                score[end] = candidate
                startOf[end] = start
                idAt[end] = id
            }
        }
        var start = 0
        while (start < marked.length) {
            val next = start + Character.charCount(marked.codePointAt(start))
            var single = false
            for (end in next..minOf(marked.length, start + longest)) {
                val id = places[marked.substring(start, end)] ?: continue
                offer(end, start, id, scoreOf(id, marked, start, end))
                single = single || end == next
            }
            if (!single) offer(next, start, unknown, unknownScore)
            start = next
        }
        return path(startOf, idAt)
    }

    /** Text of piece ids. */
    fun decode(ids: List<Int>): String {
        val text = StringBuilder()
        for (id in ids) {
            val piece = pieces[id]
            when (piece.type) {
                CONTROL -> {
                    continue
                }
                UNKNOWN -> {
                    text.append(UNKNOWN_SURFACE)
                }
                else -> {
                    val shown =
                        if (text.isEmpty()) {
                            piece.text.removePrefix(
                                "$SPACE",
                            )
                        } else {
                            piece.text
                        }
                    text.append(shown.replace(SPACE, ' '))
                }
            }
        }
        return text.toString()
    }

    private fun scoreOf(id: Int, marked: String, start: Int, end: Int): Float {
        val piece = pieces[id]
        if (piece.type != USER_DEFINED) return piece.score
        val bytes = marked.substring(start, end).toByteArray(Charsets.UTF_8).size
        return (bytes * bestScore - 0.1).toFloat()
    }

    private fun path(startOf: IntArray, idAt: IntArray): List<Int> {
        val ids = ArrayDeque<Int>()
        var end = startOf.size - 1
        while (end > 0) {
            val repeated = idAt[end] == unknown && ids.firstOrNull() == unknown
            if (!repeated) ids.addFirst(idAt[end])
            end = startOf[end]
        }
        return ids
    }

    companion object {
        private const val SPACE = Vocabulary.WORD_BOUNDARY
        private const val UNKNOWN_SURFACE = " \u2047 "
        private const val UNKNOWN_PENALTY = 10f

        // sentencepiece_model.proto: ModelProto.SentencePiece.Type and TrainerSpec.ModelType.
        private const val NORMAL = 1
        private const val UNKNOWN = 2
        private const val CONTROL = 3
        private const val USER_DEFINED = 4
        private const val UNIGRAM = 1

        /**
         * Read a serialised `ModelProto`.
         *
         * @throws FedvoiceException `bad-package` for damaged bytes or a model of another kind
         */
        fun parse(model: ByteArray): UnigramPieces {
            val pieces = mutableListOf<Piece>()
            val facts = mutableMapOf<String, Any>()
            try {
                val input = CodedInputStream.newInstance(model)
                input.fields { field ->
                    when (field) {
                        1 -> pieces += readPiece(input.nested())
                        2 -> readTrainer(input.nested(), facts)
                        3 -> readNormaliser(input.nested(), facts)
                        else -> return@fields false
                    }
                    true
                }
            } catch (error: IOException) {
                throw refused("damaged bytes (${error.message})", error)
            }
            val type = facts["model_type"] ?: UNIGRAM
            if (type != UNIGRAM) throw refused("a model of type $type")
            if (facts["byte_fallback"] == true) throw refused("a model with byte fallback")
            if (facts["plain_normaliser"] == false) throw refused("a model that rewrites its text")
            if (pieces.none { it.type == UNKNOWN }) throw refused("a model without unknown piece")
            return UnigramPieces(pieces)
        }

        private fun readPiece(input: CodedInputStream): Piece {
            var text = ""
            var score = 0f
            var type = NORMAL
            input.fields { field ->
                when (field) {
                    1 -> text = input.readString()
                    2 -> score = input.readFloat()
                    3 -> type = input.readEnum()
                    else -> return@fields false
                }
                true
            }
            return Piece(text, score, type)
        }

        private fun readTrainer(input: CodedInputStream, facts: MutableMap<String, Any>) =
            input.fields { field ->
                when (field) {
                    3 -> facts["model_type"] = input.readEnum()
                    35 -> facts["byte_fallback"] = input.readBool()
                    else -> return@fields false
                }
                true
            }

        /** Fields 2..5: the character map, dummy prefix, extra white space, escaped white space. */
        private fun readNormaliser(input: CodedInputStream, facts: MutableMap<String, Any>) =
            input.fields { field ->
                val plain =
                    when (field) {
                        2 -> input.readBytes().isEmpty
                        3, 4, 5 -> input.readBool()
                        else -> return@fields false
                    }
                if (!plain) facts["plain_normaliser"] = false
                true
            }

        private fun refused(got: String, cause: Exception? = null) =
            FedvoiceException(
                ErrorCode.BAD_PACKAGE,
                where = "vocabulary, piece_model",
                got = got,
                wanted = "a sentencepiece unigram model with identity normalisation",
                nextStep = "Export the task again with `fedvoice export`.",
                cause = cause,
            )
    }
}

/** Call [read] with each field's number; what it leaves alone (false) is skipped. */
private inline fun CodedInputStream.fields(read: (Int) -> Boolean) {
    while (true) {
        val tag = readTag()
        if (tag == 0) return
        if (!read(WireFormat.getTagFieldNumber(tag))) skipField(tag)
    }
}

private fun CodedInputStream.nested(): CodedInputStream =
    CodedInputStream.newInstance(readByteArray())
