package org.fedvoice.core.training

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.json.Json
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Test
import java.io.File

/** Law 9: errors are counted as in Python, where jiwer counts them. */
class ErrorsTest {
    @Serializable
    private class Entry(
        val reference: String,
        val hypothesis: String,
        @SerialName("char_errors") val charErrors: Int,
        val chars: Int,
    )

    /** `tests/protocol/characters.json`, which `tests/protocol/test_scoring.py` reads too. */
    private val table: List<Entry> =
        Json.decodeFromString(File("../../../tests/protocol/characters.json").readText())

    @Test
    fun `character errors are those of jiwer`() {
        val together = CharacterErrors()
        for (entry in table) {
            val errors = CharacterErrors()
            errors.add(entry.reference, entry.hypothesis)
            val pair = "'${entry.reference}' '${entry.hypothesis}'"
            val wanted = listOf(entry.charErrors, entry.chars)
            assertEquals(wanted, listOf(errors.errors, errors.chars), pair)
            together.add(entry.reference, entry.hypothesis)
        }
        val sums = listOf(table.sumOf { it.charErrors }, table.sumOf { it.chars })
        assertEquals(sums, listOf(together.errors, together.chars))
    }

    @Test
    fun `labels have no characters`() {
        val manifest = tinyManifest(4 to 2)
        val examples = someExamples(4)
        val weights = FloatArray(manifest.parameters.totalSize)
        val words = checkNotNull(evaluate(TinyEngine(manifest), examples, weights))
        val said = List(examples.size) { manifest.vocabulary.decode(examples[it].targets) }
        assertEquals(said.sumOf { it.length }, words.chars)
        val labelled = TinyEngine(manifest.copy(scoring = "labels"))
        val labels = checkNotNull(evaluate(labelled, examples, weights))
        assertEquals(words.wordErrors, labels.wordErrors)
        assertFalse(labels.hasChars() || labels.hasCharErrors())
    }
}
