package org.fedvoice.core.model

import com.google.protobuf.CodedOutputStream
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.ByteArrayOutputStream

/** Word pieces by hand; `tests/android/test_conformance.py` compares with sentencepiece itself. */
class UnigramPiecesTest {
    private val pieces =
        listOf(
            Triple("<unk>", 0f, 2),
            Triple("\u2581", -3f, 1),
            Triple("a", -2f, 1),
            Triple("b", -2f, 1),
            Triple("\u2581ab", -2.5f, 1),
            Triple("ab", -5f, 1),
        )

    private fun message(write: (CodedOutputStream) -> Unit): ByteArray {
        val bytes = ByteArrayOutputStream()
        CodedOutputStream.newInstance(bytes).also(write).flush()
        return bytes.toByteArray()
    }

    private fun model(
        trainer: (CodedOutputStream) -> Unit = {},
        normaliser: (CodedOutputStream) -> Unit = {},
    ): ByteArray =
        message { out ->
            for ((text, score, type) in pieces) {
                val piece =
                    message {
                        it.writeString(1, text)
                        it.writeFloat(2, score)
                        it.writeEnum(3, type)
                    }
                out.writeByteArray(1, piece)
            }
            out.writeByteArray(2, message(trainer))
            out.writeByteArray(3, message(normaliser))
        }

    @Test
    fun `the likeliest split wins and a run of unknown letters is one piece`() {
        val unigram = UnigramPieces.parse(model())
        assertEquals(listOf(4), unigram.encode("ab"))
        assertEquals(listOf(4, 2, 3, 4), unigram.encode("abab ab"))
        assertEquals(listOf(1, 3, 0, 2), unigram.encode("bxyza"))
        assertEquals("ab ab", unigram.decode(listOf(4, 4)))
        assertEquals("b \u2047 a", unigram.decode(listOf(1, 3, 0, 2)))
    }

    @Test
    fun `models that this phone cannot follow are refused`() {
        val refused =
            mapOf(
                model(trainer = { it.writeEnum(3, 2) }) to "type 2",
                model(trainer = { it.writeBool(35, true) }) to "byte fallback",
                model(normaliser = { it.writeString(2, "map") }) to "rewrites",
                model(normaliser = { it.writeBool(3, false) }) to "rewrites",
                model().copyOf(9) to "damaged",
                ByteArray(0) to "unknown piece",
            )
        for ((bytes, reason) in refused) {
            val error =
                assertThrows(FedvoiceException::class.java) { UnigramPieces.parse(bytes) }
            assertEquals(ErrorCode.BAD_PACKAGE, error.code)
            assertTrue(reason in error.got) { "${error.got} does not say $reason" }
        }
    }
}
