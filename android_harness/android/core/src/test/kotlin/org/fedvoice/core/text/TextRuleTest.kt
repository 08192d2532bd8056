package org.fedvoice.core.text

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import java.io.File
import java.security.MessageDigest
import java.text.Normalizer
import java.util.Locale

/** Law 9: a transcript becomes the same words as in Python, by tables of one Unicode. */
class TextRuleTest {
    @Serializable
    private class Entry(
        val language: String,
        val text: String,
        val words: String?,
        val rule: TextRule = TextRule(),
    )

    @Serializable
    private class Mixtures(
        val pool: String,
        val count: Int,
        val rules: List<TextRule>,
        val sha256: String,
    )

    /** `tests/protocol/texts.json`, which `tests/protocol/test_text.py` reads too. */
    @Serializable
    private class Table(
        val texts: List<Entry>,
        @SerialName("every_character") val everyCharacter: String,
        val mixtures: Mixtures,
    )

    private val table: Table =
        Json.decodeFromString(File("../../../tests/protocol/texts.json").readText())

    private fun outcome(text: String, rule: TextRule): String =
        try {
            rule.normalise(text)
        } catch (error: FedvoiceException) {
            "!${error.code.id}"
        }

    private fun digest(lines: Sequence<String>): String =
        MessageDigest
            .getInstance("SHA-256")
            .digest(lines.joinToString("\n").toByteArray())
            .joinToString("") { "%02x".format(it) }

    @Test
    fun `texts of many languages become their words`() {
        for (entry in table.texts) {
            val wanted = entry.words ?: "!${ErrorCode.UNSUPPORTED_TEXT.id}"
            val name = "${entry.language}: ${entry.text}"
            assertEquals(wanted, outcome(entry.text, entry.rule), name)
        }
    }

    @Test
    fun `every character and random mixtures come out as in Python`() {
        val kept = TextRule(digits = Treatment.KEEP, tags = Treatment.KEEP)
        val all =
            (1 until 0x20000)
                .asSequence()
                .filter { it !in 0xD800..0xDFFF }
                .map { outcome("b${textOf(intArrayOf(it))}c", kept) }
        assertEquals(table.everyCharacter, digest(all))

        val pool = pointsOf(table.mixtures.pool)
        var state = 1L
        val mixed =
            (0 until table.mixtures.count).asSequence().map { number ->
                val text =
                    IntArray(1 + number % 12) {
                        state = (state * 1103515245L + 12345L) % (1L shl 31)
                        pool[((state shr 8) % pool.size).toInt()]
                    }
                val rules = table.mixtures.rules
                outcome(textOf(text), rules[number % rules.size])
            }
        assertEquals(table.mixtures.sha256, digest(mixed))
    }

    @Test
    fun `composition and lower case are the platform's for what it knows`() {
        for (point in 1 until 0x20000) {
            if (!Character.isDefined(point) || point in 0xD800..0xDFFF) continue
            val text = textOf(intArrayOf(point))
            val apart = Normalizer.normalize(text, Normalizer.Form.NFD)
            val whole = pointsOf(Normalizer.normalize(text, Normalizer.Form.NFC))
            assertArrayEquals(whole, Composition.composed(pointsOf(apart)), "%04X".format(point))
            // Later versions gave capitals to letters that this Java leaves as they are.
            val small = text.lowercase(Locale.ROOT)
            if (small != text) {
                val own = Characters.lowerCase(intArrayOf(point), "")
                assertArrayEquals(pointsOf(small), own, "%04X".format(point))
            }
        }
    }

    @Test
    fun `characters newer than the tables pass and are counted`() {
        assertEquals("ki \uD807\uDF04a", TextRule().normalise("Ki \uD807\uDF04a"))
        assertEquals(1, unknownCharacters("Ki \uD807\uDF04a"))
    }
}
